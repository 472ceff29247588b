"""Loading a file from an untrusted source imports no code unless the user allows it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.jobs import Here

import quorate
from quorate.bundle import MANIFEST, Bundle, BundleError
from quorate.cli import app
from quorate.errors import UserError
from quorate.members.base import HEADER
from quorate.registry import own_code
from quorate.serving.service import servable

MODULE = "left_by_somebody"
JOB: dict[str, Any] = {
    "name": "foreign",
    "data": {"kind": "digits", "limit": 120},
    "validation": {"folds": 2},
    "members": {"net": {"kind": "net", "arch": "mlp", "epochs": 1}},
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = Here(tmp_path_factory.mktemp("foreign"))
    here.run(JOB)
    return here


@pytest.fixture
def run(finished: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of a finished run, and on Python's path a module that leaves a trace where it is imported."""
    source = finished.newest_run()
    copy = tmp_path / "runs" / source.name
    for path in source.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    package = tmp_path / "path" / MODULE
    package.mkdir(parents=True)
    trace = f"from pathlib import Path\nPath({str(tmp_path / 'imported')!r}).touch()\n"
    (package / "__init__.py").write_text(trace + "def build(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    yield copy
    sys.modules.pop(MODULE, None)
    own_code._folders.clear()


def rewrite(bundle: Path, name: str, change: Any) -> None:
    """Change a JSON file of a bundle as somebody would who also writes its hash into the manifest."""
    content = json.loads((bundle / name).read_text())
    change(content)
    (bundle / name).write_text(json.dumps(content))
    manifest = json.loads((bundle / MANIFEST).read_text())
    if name != MANIFEST:
        manifest["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        (bundle / MANIFEST).write_text(json.dumps(manifest))


REFERENCE = f"{MODULE}:build"
HOSTILE = {
    "the kind of a member": ("net", lambda header: header.update(kind=REFERENCE)),
    "an architecture": ("net", lambda header: header["params"].update(arch={"kind": REFERENCE})),
    "an architecture by its name alone": ("net", lambda header: header["params"].update(arch=REFERENCE)),
    "an optimizer": ("net", lambda header: header["params"].update(optimizer={"kind": REFERENCE})),
    "an initialization": ("net", lambda header: header["params"].update(init=REFERENCE)),
    "a package that it requires": ("net", lambda header: header.update(kind=REFERENCE, requires=f"{MODULE}.inner")),
    "a combiner": (None, lambda manifest: manifest["combination"].update(kind=REFERENCE)),
    "a way of pooling": (None, lambda manifest: manifest["combination"].update(pool=REFERENCE)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_place_in_a_bundle_makes_loading_it_import_code(what: str, run: Path, tmp_path: Path) -> None:
    member, change = HOSTILE[what]
    name = MANIFEST if member is None else f"members/{member}/0/{HEADER}"
    rewrite(run / "bundle", name, change)

    with pytest.raises(BundleError) as refused:
        Bundle.load(run / "bundle")

    assert not (tmp_path / "imported").exists() and MODULE not in sys.modules
    if "name alone" not in what and "initialization" not in what:
        with pytest.raises(UserError, match=MODULE):
            servable(run / "bundle")
    for said in (MODULE, "--allow-code", "allow_code=True"):
        assert said in str(refused.value)
    with pytest.raises(UserError, match=MODULE):
        quorate.load(run)
    assert not (tmp_path / "imported").exists()


def test_with_permission_the_code_is_imported(run: Path, tmp_path: Path) -> None:
    rewrite(run / "bundle", f"members/net/0/{HEADER}", lambda header: header.update(kind=REFERENCE))

    with pytest.raises(BundleError, match="the member net cannot be loaded"):  # it is no member
        Bundle.load(run / "bundle", allow_code=True)

    assert (tmp_path / "imported").exists()


@pytest.mark.slow
def test_the_commands_refuse_code_with_an_error_and_the_fix(run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", images=np.zeros((2, 8, 8, 1), np.uint8), labels=np.zeros(2, int))
    rewrite(run / "bundle", f"members/net/0/{HEADER}", lambda header: header.update(kind=REFERENCE))
    here = Here(tmp_path)

    for command in (["predict", "rows.npz"], ["evaluate", "rows.npz"], ["serve"], ["prune"]):
        done = here.command(*command, "--run", str(run), PYTHONPATH=str(tmp_path / "path"))

        assert done.returncode == 2, done.stderr
        assert MODULE in done.stderr and "--allow-code" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "imported").exists()


@pytest.mark.slow
def test_the_job_that_a_run_keeps_imports_no_code_for_a_report_or_a_diagnosis(run: Path, tmp_path: Path) -> None:
    job = json.loads((run / "job.json").read_text())
    job["members"]["net"] = {"kind": REFERENCE}
    job["data"] = {"kind": REFERENCE}
    (run / "job.json").write_text(json.dumps(job))
    here = Here(tmp_path)

    for command in (["report"], ["diagnose"], ["prune"], ["distill", "--student", "mlp"], ["soup"]):
        done = here.command(*command, "--run", str(run), PYTHONPATH=str(tmp_path / "path"))

        assert "Traceback" not in done.stderr, done.stderr
        assert not (tmp_path / "imported").exists(), command


def test_an_installed_package_with_an_entry_point_requires_no_permission(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "path" / "somebody-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[quorate.members]\nplugin = {REFERENCE}\n")
    rewrite(run / "bundle", f"members/net/0/{HEADER}", lambda header: header.update(kind="plugin"))

    with pytest.raises(BundleError, match="the member net cannot be loaded"):  # it is no member, but it was looked at
        Bundle.load(run / "bundle")

    assert (tmp_path / "imported").exists()


def test_a_command_that_cannot_be_read_leaves_code_allowed_in_its_process() -> None:
    with pytest.raises(SystemExit):
        app(["predict", "--no-such-option"])

    own_code.check_allowed("mine:build")
