"""Users' own code is found, checked, trained, identified by its source, and not required by the bundle if possible."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from tests.jobs import ROOT, Here
from tests.tiny import LAPTOP

from quorate.bundle import Bundle, BundleError
from quorate.data.dataset import ArrayImages
from quorate.data.signature import ImageSignature
from quorate.execution.workplace import Workplace
from quorate.job.planning import plan_job
from quorate.members import own
from quorate.members.base import HEADER, Member, load_member
from quorate.members.saved_learner import SavedLearner
from quorate.plan.opening import open_data
from quorate.plan.tasks import Plan
from quorate.registry import ARCHS, COMBINERS, MEMBERS, REGISTRIES, own_code
from quorate.registry.own_code import OwnCodeError
from quorate.spec import Job, MemberParams, load_job
from quorate.spec.file import SpecError
from quorate.training.context import Numerics

EXAMPLE = ROOT / "docs" / "examples" / "starfish"

NETWORKS = """
import torch
from torch import nn
{helper}

def linear(shape, n_classes, *, bias: bool = True, scales: list[float] = [1.0]):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], n_classes, bias=bias))

class Linear(nn.Module):
    def __init__(self, shape, n_classes):
        super().__init__()
        self.inner = linear(shape, n_classes)
    def forward(self, x):
        return self.inner(x)

class Spectral(Linear):
    def forward(self, x):
        return self.inner(x) + torch.linalg.eigvalsh(x[:, 0])[:, :1]

def wide(shape, n_classes):
    return linear(shape, 7)

def nothing(shape, n_classes):
    pass

def fails(shape, n_classes):
    return 1 / 0

def lost(shape): pass

def stars(shape, n_classes, **rest): pass

def unreadable(shape, n_classes, width: "Wdith" = 3): pass

number = 3
"""

SCIKIT = """
import numpy as np
from pydantic import Field
from typing import Annotated
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC
from quorate.members.learner import Learner, LearnerParams
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline
from quorate.members.base import write_header
from quorate.spec import MemberParams

def forest(seed, *, trees: Annotated[int, Field(ge=1)] = 5):
    return RandomForestClassifier(trees, random_state=seed, n_jobs=1)

def margins():
    return LinearSVC()

def network(seed):
    return MLPClassifier((8,), max_iter=20, random_state=seed)

def searched():
    return KNeighborsClassifier(algorithm="ball_tree")

class Wide(Learner):
    Params = LearnerParams
    def estimator(self, *, seed, y):
        return MLPClassifier((self.features.width,), max_iter=5, random_state=seed)

class Searched(Learner):
    Params = LearnerParams
    def estimator(self, *, seed, y):
        return searched()

class Half(TransformerMixin, BaseEstimator):
    def fit(self, x, y=None):
        return self
    def transform(self, x):
        return x / 2

def halved():
    return make_pipeline(Half(), LogisticRegression())

def halved_in_trust():
    return halved()
halved_in_trust.trusted = (f"{__name__}.Half",)

class Params(MemberParams):
    sharpness: float = 1.0

class Frequencies:
    Params = Params

    def __init__(self, params, *, signature, n_classes):
        self.params, self.n_classes, self.history = params, n_classes, []

    def fit(self, train, valid, run):
        self.share = np.bincount(train.y, minlength=self.n_classes) / len(train.y)
        self.history = [{"valid_loss": 1.0, "train_loss": 1.0}]
        return self

    def predict_proba(self, x):
        return np.tile(self.share, (len(x), 1)).astype(np.float32)

    def save(self, folder):
        write_header(folder, params=self.params, share=self.share.tolist())

    @classmethod
    def load(cls, folder):
        import json
        header = json.loads((folder / "member.json").read_text())
        member = cls(cls.Params.model_validate(header["params"]), signature=None, n_classes=len(header["share"]))
        member.share = np.array(header["share"])
        return member

class Unfinished:
    Params = Params
    def fit(self, train, valid, run): pass

class NoParams(Frequencies):
    Params = dict
"""

ROWS = """
import numpy as np

def pixels(*, rows: int = 60):
    y = np.arange(rows) % 3
    x = np.random.default_rng(0).integers(0, 120, (rows, 8, 8)).astype(np.uint8)
    x[np.arange(rows), y] += 120
    return x, y

def both(): return (*pixels(), *pixels(rows=9))
def floats(): return np.random.rand(9, 8, 8), np.arange(9)
def short(): return np.zeros((9, 8, 8), np.uint8), np.arange(4)
def single(): return np.zeros((9, 8, 8), np.uint8)
def table(): return np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
def fails(): return {}["missing"]
def shadows(*, file_settings: int = 3): return pixels()
"""

COMBINING = """
import numpy as np
from quorate.ensemble.combination import Combination
from quorate.ensemble.calibrator import fit_each
from quorate.ensemble.combiner import Combiner, with_final_calibration
from quorate.registry import KindParams

def equal(proba, y): return np.ones(len(proba))
def negative(proba, y): return -np.ones(len(proba))

class Params(KindParams): pass

class Geometric(Combiner[Params]):
    Params = Params
    def fit(self, *, proba, y, seed):
        calibrations = fit_each(KindParams(kind="temperature"), proba=proba, y=y)
        kind, weights = self.params.kind, np.full(len(proba), 1 / len(proba))
        return with_final_calibration(Combination(kind, weights, calibrations), proba=proba, y=y)
    @staticmethod
    def pool(*, members, weights):
        pooled = np.exp(sum(w * np.log(np.maximum(p, 1e-12)) for w, p in zip(weights, members)))
        return pooled / pooled.sum(axis=1, keepdims=True)
"""

STEPS = """
import torch
def adam(weights, *, lr, weight_decay, beta: float = 0.9):
    return torch.optim.Adam(weights, lr=lr, betas=(beta, 0.99), weight_decay=weight_decay)
def halving(optimizer, epochs, steps):
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=steps, gamma=0.5)
def none(weights, lr): pass
"""

MODULES = {"networks": NETWORKS, "scikit": SCIKIT, "rows": ROWS, "combining": COMBINING, "steps": STEPS}


def forget(*names: str) -> None:
    """Remove these modules from this process, as if they had never been imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]
    for name in [name for name in own_code._found if name.partition(".")[0] in names]:
        del own_code._found[name]
    for registry in REGISTRIES.values():
        for name, reference, _ in registry.adopted():
            if own_code.package_of(reference) in names:
                del registry._own[name]
    importlib.invalidate_caches()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """A folder with a package `mine` and the job files of a test; everything is forgotten in the end."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(own_code, "_found", {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    for name, source in MODULES.items():
        (tmp_path / "mine" / f"{name}.py").write_text(source.replace("{helper}", ""))
    yield Here(tmp_path)
    forget("mine", "alone", "starfish", "broken")
    own_code._folders.clear()


def job_of(here: Here, **changes: Any) -> Job:
    tree = {"data": {"kind": "digits", "limit": 200}, "members": {"svm": "svm"}, "validation": {"folds": 2}, **changes}
    return load_job(here.write(tree))


def plan_of(here: Here, **changes: Any) -> Plan:
    job = job_of(here, **changes)
    return plan_job(job, open_data(job), Workplace("local", None, lambda executor: None))


def net(arch: Any = "mine.networks:linear", **rest: Any) -> dict[str, Any]:
    return {"net": {"kind": "net", "arch": arch, "epochs": 1, **rest}}


def mistake(call: Callable[..., Any], *arguments: Any, **changes: Any) -> tuple[int, str]:
    """The line and the message of the only problem."""
    with pytest.raises(SpecError) as caught:
        call(*arguments, **changes)
    (problem,) = caught.value.problems
    return problem.line, problem.message


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no module": (
        {"members": net("mien.networks:linear")},
        r"there is no module mien; did you mean 'mine'\? \(looked in .*, and among the installed packages\)",
    ),
    "no submodule": (
        {"members": net("mine.network:linear")},
        r"there is no module mine.network; did you mean 'networks'\? \(looked in .*mine\)",
    ),
    "no package": ({"members": net("mine.networks.more:x")}, "mine.networks is not a package"),
    "no attribute": (
        {"members": net("mine.networks:liner")},
        r"mine.networks has no 'liner'; did you mean 'linear'\? \(imported from .*networks.py\)",
    ),
    "not a reference": ({"members": net("mine.networks:")}, "not of the form module:name"),
    "raises on import": (
        {"members": net("broken:build")},
        r"the module broken cannot be imported: ZeroDivisionError: division by zero \(.*broken.py:2\)",
    ),
    "imports what is not there": (
        {"data": "alone:rows"},
        r"the module alone cannot be imported: ModuleNotFoundError: No module named 'nowhere' \(.*alone.py:1\)",
    ),
    "not a function": ({"members": net("mine.networks:number")}, "it is a int; it must be a function: build"),
    "parameter missing": (
        {"members": net("mine.networks:lost")},
        r"it does not take n_classes; it should look like build\(shape, n_classes",
    ),
    "arguments without a name": (
        {"members": net("mine.networks:stars")},
        r"the parameter \*\*rest cannot be passed by name",
    ),
    "parameter with the name of a method": (
        {"data": "mine.rows:shadows"},
        "the parameter name 'file_settings' is reserved; rename it",
    ),
    "annotation": ({"members": net("mine.networks:unreadable")}, "its signature cannot be read: NameError: .*Wdith"),
    "unknown key": (
        {"members": net({"kind": "mine.networks:linear", "bais": True})},
        r"unknown key 'bais'; did you mean 'bias'\? \(valid keys: bias, kind, scales\)",
    ),
    "wrong value": ({"members": net({"kind": "mine.networks:linear", "bias": "perhaps"})}, "should be a valid boolean"),
    "class without methods": (
        {"members": {"m": "mine.scikit:Unfinished"}},
        "the class Unfinished lacks predict_proba, save, load",
    ),
    "class without parameters": (
        {"members": {"m": "mine.scikit:NoParams"}},
        r"the class NoParams lacks Params \(a subclass of quorate.spec.kind_params.MemberParams\)",
    ),
    "combiner": ({"combiner": "mine.rows:pixels"}, r"does not take proba and y; it should look like weights\(proba"),
    "combiner class": ({"combiner": "mine.networks:Linear"}, "the class Linear lacks Params .*, fit, pool"),
    "schedule": ({"members": net(schedule="mine.networks:linear")}, "does not take optimizer"),
}
"""Jobs that `load_job` refuses, with the message."""

PLANNED: dict[str, tuple[dict[str, Any], str]] = {
    "code that raises": (
        {"members": net("mine.networks:fails")},
        r"mine.networks:fails raises ZeroDivisionError: division by zero \(.*networks.py:\d+\)",
    ),
    "no network": ({"members": net("mine.networks:nothing")}, "returned None, not a torch.nn.Module"),
    "other logits": (
        {"members": net("mine.networks:wide")},
        r"returned \(1, 7\) for one row of \(1, 8, 8\); it must return \(1, 2\), one logit for each of 2 classes",
    ),
    "tables": ({"data": "mine.rows:table", "members": net()}, "does not accept tables of 4 columns"),
    "no probabilities": ({"members": {"m": "mine.scikit:margins"}}, "mine.scikit:margins has no predict_proba; use a"),
    "floats": ({"data": "mine.rows:floats"}, "returns rows that cannot be used"),
    "labels": ({"data": "mine.rows:short"}, "9 rows and 4 labels; one label per row is required"),
    "no labels": ({"data": "mine.rows:single"}, r"returns a ndarray; it must return \(x, y\)"),
    "data that raise": ({"data": "mine.rows:fails"}, r"raises KeyError: 'missing' \(.*rows.py:\d+\)"),
    "two tests": (
        {"data": {"kind": "mine.rows:both", "test": {"fraction": 0.5}}},
        "returns its own test rows; leave test out",
    ),
}
"""Jobs that the plan refuses, with the message."""


@pytest.mark.parametrize("name", WRONG)
def test_code_that_cannot_be_a_kind_is_refused_with_line_and_reason(name: str, here: Here) -> None:
    (here.folder / "broken.py").write_text("a = 1\nb = a / 0\n")
    (here.folder / "alone.py").write_text("import nowhere\n")
    changes, said = WRONG[name]

    line, message = mistake(job_of, here, **changes)

    assert re.search(said, message), message
    assert line > 0


@pytest.mark.parametrize("name", PLANNED)
def test_code_that_returns_the_wrong_type_is_refused_before_training(name: str, here: Here) -> None:
    changes, said = PLANNED[name]

    line, message = mistake(plan_of, here, **changes)

    assert re.search(said, message), message
    assert line > 0


def test_a_module_that_is_not_python_is_refused_with_its_line(here: Here) -> None:
    (here.folder / "broken.py").write_text("def build(:\n    pass\n")

    _, message = mistake(job_of, here, members=net("broken:build"))

    assert re.search(r"SyntaxError: .* \(.*broken.py:1\)$", message), message


def test_a_module_with_the_name_of_another_one_is_refused_rather_than_mistaken_for_it(here: Here) -> None:
    (here.folder / "yaml.py").write_text("def build(shape, n_classes): pass\n")

    _, message = mistake(job_of, here, members=net("yaml:build"))

    assert "yaml.py has the same name as another module" in message


def test_parameters_come_from_the_annotations_of_the_function(here: Here) -> None:
    job = job_of(
        here, members={"m": {"kind": "mine.scikit:forest", "trees": 7}}, data={"kind": "mine.rows:pixels", "rows": 30}
    )

    assert job.spec.members["m"].trees == 7
    assert open_data(job).train.x.shape == (8, 8, 1)
    assert len(open_data(job).train) == 30
    _, message = mistake(job_of, here, members={"m": {"kind": "mine.scikit:forest", "trees": 0}})
    assert "greater than or equal to 1" in message


def test_parameters_reach_another_process_by_the_name_of_their_kind(here: Here) -> None:
    """The workers of Ray lack the class that the driver created from the signature."""
    params = job_of(here, members=net({"kind": "mine.networks:linear", "scales": [2.0]})).spec.members["net"]
    sent = pickle.dumps(params)

    forget("mine")
    got = pickle.loads(sent)

    assert got.arch.model_dump() == {"kind": "mine.networks:linear", "bias": True, "scales": [2.0]}
    assert type(got.arch) is ARCHS.get("mine.networks:linear").Params


def test_an_installed_package_registers_its_kinds_by_entry_points(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    # given: what `pip install` of the example leaves on Python's path
    installed = here.folder / "installed"
    shutil.copytree(EXAMPLE / "starfish", installed / "starfish")
    text = (EXAMPLE / "pyproject.toml").read_text()
    points = re.findall(r'\[project.entry-points."(.+)"\]\n(\w+) = "(.+)"', text)
    about = installed / "starfish-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: starfish\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {value}\n" for group, name, value in points))
    monkeypatch.syspath_prepend(str(installed))

    # when
    job = job_of(
        here,
        data={"kind": "spirals", "rows": 40},
        members={"kernel": {"kind": "nystroem", "landmarks": 9}, **net({"kind": "separable", "width": 4})},
        combiner={"kind": "by_accuracy", "power": 2},
    )

    # then
    assert len(points) == 4
    assert job.spec.members["kernel"].landmarks == 9
    assert {"separable"} <= set(ARCHS.names()) and {"nystroem"} <= set(MEMBERS.names())
    assert COMBINERS.reference("by_accuracy") == "starfish.weights:by_accuracy"
    _, message = mistake(job_of, here, members={"m": {"kind": "nystrom"}})
    assert "did you mean 'nystroem'?" in message


def test_an_installed_package_cannot_take_the_name_of_a_built_in_kind(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = here.folder / "rude-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rude\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[quorate.members]\nsvm = mine.scikit:forest\n")
    monkeypatch.syspath_prepend(str(here.folder))

    assert MEMBERS.get("svm").__module__ == "quorate.members.svm"
    assert MEMBERS.reference("svm") is None


def test_edited_code_does_not_reuse_earlier_results(here: Here) -> None:
    def keys(source: str, helper: str, other: str = "") -> list[str]:
        forget("mine")
        (here.folder / "mine" / "networks.py").write_text(source.replace("{helper}", "from mine.blocks import depth"))
        (here.folder / "mine" / "blocks.py").write_text(helper)
        (here.folder / "mine" / "steps.py").write_text(other)
        return [task.key for task in plan_of(here, members={**net(), "svm": {"kind": "svm"}}).tasks]

    # given
    *before, svm, _ = keys(NETWORKS, "depth = 1\n")

    # then
    *same, _, _ = keys(NETWORKS, "depth = 1\n", other="unrelated = 1\n")
    *edited, svm_then, _ = keys(NETWORKS + "\n# a word\n", "depth = 1\n")
    *helped, _, _ = keys(NETWORKS, "depth = 2\n")
    assert same == before
    assert not set(edited) & set(before), "another source"
    assert not set(helped) & set(before), "another source of a module that it imports"
    assert svm_then == svm, "built-in members know nothing of it"


def test_own_optimizers_and_schedules_train_and_are_not_needed_to_predict(here: Here) -> None:
    # given: a network of Quorate's own
    members = net("mlp", optimizer={"kind": "mine.steps:adam", "beta": 0.8}, schedule="mine.steps:halving")
    board = here.run(local(members=members, data={"kind": "mine.rows:both"}))

    # when, then
    assert board["tasks"]["trained"] == 2
    history = json.loads((here.newest_run() / "leaderboard.json").read_text())
    assert history["members"][0]["status"] == "ok"
    assert said_without(here, "mine") == ""


def local(**changes: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "data": {"kind": "mine.rows:both"},
        "validation": {"folds": 2},
        "execution": {"executor": "local"},
        "tracking": {"enabled": False},
        **changes,
    }


PREDICT = """
import sys
from pathlib import Path
import numpy as np
from quorate.bundle import Bundle, BundleError
try:
    bundle = Bundle.load(Path(sys.argv[1]), allow_code=True)
except BundleError as error:
    print(error)
    raise SystemExit
rows = np.load(sys.argv[2])
np.save(sys.argv[3], bundle.predict(rows).proba)
assert not [name for name in sys.modules if name.partition(".")[0] == sys.argv[4]]
try:
    __import__(sys.argv[4])
except ModuleNotFoundError:
    raise SystemExit
print("the package is there")
"""


def said_without(here: Here, package: str) -> str:
    """The error or output when this process loads the newest bundle and predicts, as if the package were not
    installed."""
    forget(package)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(sys, "path", [place for place in sys.path if not place.startswith(str(here.folder))])
        changed.chdir(ROOT)
        try:
            proba = (
                Bundle.load(here.newest_run() / "bundle", allow_code=True)
                .predict(np.zeros((3, 8, 8, 1), np.uint8))
                .proba
            )
        except BundleError as error:
            return str(error)
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        assert not [name for name in sys.modules if name.partition(".")[0] == package]
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(package)
    return ""


def said_apart_without(here: Here, package: str, rows: Path | None = None) -> str:
    """The output of another process without the package, which loads the newest bundle and predicts into
    `proba.npy`."""
    elsewhere = here.folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    if rows is None:
        rows = elsewhere / "rows.npy"
        np.save(rows, np.zeros((3, 8, 8, 1), np.uint8))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PREDICT,
            str(here.newest_run() / "bundle"),
            str(rows),
            str(elsewhere / "proba.npy"),
            package,
        ],
        cwd=elsewhere,
        env={**here.environment(), "PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.system
def test_the_example_trains_on_ray_and_its_bundle_predicts_without_it(tmp_path: Path) -> None:
    # given: the example in a folder of its own, the command run in another
    here = Here(tmp_path / "work")
    here.folder.mkdir()
    shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    small = ["data.rows=480", "members.separable.epochs=3", "members.separable.batch_size=16"]
    small += ["members.kernel.landmarks=100", "members.separable.arch.width=8", "validation.folds=2"]
    small += ["members.svm={kind: logistic}", "tracking.enabled=false", "execution.workers=2"]

    # when
    done = here.command(
        "train", "../example/job.yaml", *(part for one in small for part in ("--set", one)),
        PYTHONPATH=str(ROOT / "platform"),
    )  # fmt: skip

    # then
    assert done.returncode == 0, done.stdout + done.stderr
    board = here.board()
    assert board["tasks"] == {"total": 6, "trained": 6, "reused": 0, "failed": 0}
    manifest = json.loads((here.newest_run() / "bundle" / "manifest.json").read_text())
    loaders = {entry["name"]: entry.get("loader") for entry in manifest["members"] if entry["folds"]}
    assert loaders.items() <= {"separable": "onnx", "kernel": "learner", "svm": None}.items()
    assert {"separable", "kernel"} <= set(loaders), "both have weight"

    # and: elsewhere, without the package
    sys_path, modules = list(sys.path), set(sys.modules)
    try:
        loaded = load_job(tmp_path / "example" / "job.yaml", small)
        test = open_data(loaded).test
    finally:
        sys.path[:] = sys_path
        forget("starfish")
        own_code._folders.clear()
    assert test is not None and "starfish" not in set(sys.modules) - modules
    np.save(tmp_path / "rows.npy", test.x.take(np.arange(len(test))))
    assert said_apart_without(here, "starfish", tmp_path / "rows.npy") == ""
    kept = np.load(here.newest_run() / "test.npz")
    np.testing.assert_allclose(np.load(here.folder / "elsewhere" / "proba.npy"), kept["ensemble"], atol=1e-5)


@pytest.mark.slow
def test_a_network_that_onnx_cannot_represent_requires_its_package_and_says_so(here: Here) -> None:
    # given: eigenvalues, which ONNX has no operator for
    here.run(local(members=net("mine.networks:Spectral")))

    # then
    assert "the member net needs the package mine wherever the bundle is loaded: " in here.said
    said = said_without(here, "mine")
    assert "the member net cannot be loaded: it needs the package mine; install it, or put its folder" in said
    kept, rows = np.load(here.newest_run() / "test.npz"), open_data(job_of(here, data="mine.rows:both")).test
    proba = Bundle.load(here.newest_run() / "bundle", allow_code=True).predict(rows.x).proba
    np.testing.assert_allclose(proba, kept["ensemble"], atol=1e-6)


def test_a_class_without_a_base_of_quorate_trains_and_requires_its_package(here: Here) -> None:
    here.run(local(members={"m": {"kind": "mine.scikit:Frequencies", "sharpness": 2}}))

    assert (
        "the member m needs the package mine wherever the bundle is loaded: its class saves and loads it" in here.said
    )
    assert "the member m cannot be loaded: it needs the package mine" in said_apart_without(here, "mine")
    member = load_member(next((here.newest_run() / "bundle" / "members").rglob(HEADER)).parent)
    assert member.params.sharpness == 2
    np.testing.assert_allclose(member.predict_proba(ArrayImages(np.zeros((2, 8, 8, 1), np.uint8))).sum(axis=1), 1)


def test_a_model_of_scikit_learn_parts_requires_no_package_and_is_checked_when_loaded(here: Here) -> None:
    # given
    here.run(local(members={"m": "mine.scikit:forest"}))
    folder = next((here.newest_run() / "bundle" / "members").rglob(HEADER)).parent
    assert said_without(here, "mine") == ""
    assert load_member(folder).features.width == 64

    # when: a tree points outside its nodes
    model = skops.io.load(folder / "model.skops", trusted=list(SavedLearner.trusted))
    state = model.estimators_[1].tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"]["left_child"][0] = 1 << 30
    model.estimators_[1].tree_.__setstate__(state)
    skops.io.dump(model, folder / "model.skops")

    # then
    with pytest.raises(ValueError, match="a tree refers to nodes or features that do not exist"):
        load_member(folder)


def test_a_network_of_scikit_learn_trains_and_needs_no_package(here: Here) -> None:
    here.run(local(members={"m": "mine.scikit:network"}))

    assert said_without(here, "mine") == ""


def test_a_class_whose_estimator_needs_its_fitted_features_trains(here: Here) -> None:
    assert here.run(local(members={"m": "mine.scikit:Wide"}))["members"][0]["status"] == "ok"


@pytest.mark.parametrize("kind", ["mine.scikit:searched", "mine.scikit:Searched"])
def test_a_classifier_that_could_not_be_saved_is_refused_before_it_is_trained(here: Here, kind: str) -> None:
    with pytest.raises(SpecError, match=r"members.m: .*BallTree, which a bundle would not load; set its algorithm to"):
        here.run(local(members={"m": kind}))


def test_a_model_with_custom_types_is_refused_unless_they_are_trusted(here: Here) -> None:
    with pytest.raises(
        SpecError, match=r"holds mine.scikit.Half, which a bundle would not load; list the classes to tru"
    ):
        here.run(local(members={"m": "mine.scikit:halved"}))

    here.run(local(members={"m": "mine.scikit:halved_in_trust"}))
    assert "needs the package mine wherever the bundle is loaded: its model holds mine.scikit.Half" in here.said
    assert "it needs the package mine" in said_without(here, "mine")


def test_a_combiner_with_the_standard_pooling_is_not_required_to_predict(here: Here) -> None:
    members = {"line": "logistic", "wood": {"kind": "random_forest", "trees": 5}}

    here.run(local(members=members, combiner="mine.combining:equal"))

    assert said_without(here, "mine") == ""


def test_a_combiner_with_its_own_pooling_is_required_and_named(here: Here) -> None:
    # given: two members that are better together, so that the better one does not take the place of both
    members = {"line": {"kind": "logistic"}, "wood": {"kind": "random_forest", "trees": 40}}
    digits = {"kind": "digits", "limit": 300}
    board = here.run(local(data=digits, members=members, combiner="mine.combining:Geometric"))
    assert board["ensemble"]["combiner"] == "mine.combining:Geometric", here.said

    # then
    assert "the combiner needs the package mine" in here.said
    said = said_apart_without(here, "mine")
    assert "the combiner mine.combining:Geometric needs the package mine; install it" in said
    kept, rows = np.load(here.newest_run() / "test.npz"), open_data(job_of(here, data=digits)).test
    proba = Bundle.load(here.newest_run() / "bundle", allow_code=True).predict(rows.x).proba
    np.testing.assert_allclose(proba, kept["ensemble"], atol=1e-6)


def test_an_unknown_loader_is_refused(here: Here) -> None:
    here.run(local(members={"m": "mine.scikit:forest"}))
    folder = next((here.newest_run() / "bundle" / "members").rglob(HEADER)).parent
    header = json.loads((folder / HEADER).read_text())
    (folder / HEADER).write_text(json.dumps(header | {"loader": "os"}))

    with pytest.raises(ValueError, match=r"unknown loader 'os' \(this version has learner, onnx\)"):
        load_member(folder)
    with pytest.raises(BundleError, match="does not match its SHA-256"):
        Bundle.load(here.newest_run() / "bundle")


def test_modules_next_to_the_job_are_shipped_and_installed_packages_are_not(here: Here) -> None:
    (here.folder / "alone.py").write_text("from mine.networks import linear\nimport yaml\n")

    job_of(here, members=net("alone:linear"))

    assert own_code.own_files() == [here.folder / "alone.py", here.folder / "mine"]


@pytest.mark.slow
def test_a_cluster_gets_the_code_with_the_connection(here: Here, tmp_path: Path) -> None:
    """The cluster's processes run in another folder, and share nothing with the job but Ray."""
    far = tmp_path / "far"
    far.mkdir()
    script = far / "cluster.py"
    script.write_text(
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "print(cluster.address, flush=True)\n"
        "input()\n"
    )
    environment = {**here.environment(), "PYTHONPATH": str(ROOT / "platform")}
    cluster = subprocess.Popen(
        [sys.executable, str(script)], cwd=far, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        here.write(local(members={**net(), "m": "mine.scikit:forest"}, execution={"executor": "ray"}))
        work = tmp_path / "work"
        work.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "quorate", "train", str(here.job_file), "--address", address],
            cwd=work, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        cluster.communicate("\n", timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr
    (board,) = (work / "runs").glob("*/leaderboard.json")
    assert json.loads(board.read_text())["tasks"]["trained"] == 4


def test_members_with_the_same_recipe_of_a_users_own_kind_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(own, "check_savable", lambda made, *, name, trusted: asked.append(made.n_estimators))
    kind = own.adopt_member("mine:forest", lambda *, trees=5: RandomForestClassifier(trees))

    for trees in (7, 7, 9, 7):
        params = kind.Params(trees=trees)
        kind.numerics(params, signature=ImageSignature((8, 8, 1)), rows=100, hardware=LAPTOP)

    assert asked == [7, 9]


def test_a_class_that_inherits_from_the_contract_gets_the_defaults_and_must_define_the_rest() -> None:
    class Half(Member):
        class Params(MemberParams):
            pass

        def fit(self, train: Any, valid: Any, context: Any) -> Any:
            return self

        def predict_proba(self, x: Any) -> Any:
            return x

        def save(self, folder: Path) -> None:
            pass

    class Whole(Half):
        @classmethod
        def load(cls, folder: Path) -> Any:
            return cls

    with pytest.raises(OwnCodeError, match="the class Half lacks load"):
        own.adopt_member("mine:Half", Half)
    kind, image = own.adopt_member("mine:Whole", Whole), ImageSignature((8, 8, 1))
    params = kind.Params(kind="mine:Whole", cpus=2)

    assert kind.numerics(params, signature=image, rows=100, hardware=LAPTOP) == Numerics(threads=2)
    assert kind.cost(params, signature=image, rows=1000, n_classes=10) == pytest.approx(1e-6 * 1000 * 64 * 10)
