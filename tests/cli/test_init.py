"""`quorate init`, in this process: what it finds, what it writes, that this runs, and what it refuses."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import constants
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits
from tests.features import write_weights

from quorate.autoconfig import archive, folder
from quorate.execution.interrupt import StopRequest
from quorate.job.run import Options, run_job
from quorate.plan.opening import open_data
from quorate.runs.leaderboard import Leaderboard
from quorate.runs.place import FolderRuns
from quorate.spec import load_job
from quorate.store import open_store

Init = Callable[..., tuple[int, str, str]]


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quorate_in: Init) -> Init:
    """Runs the command in `tmp_path`: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    return partial(quorate_in, tmp_path, "init", columns=200)


def smoke(job: Path, *overrides: str) -> Leaderboard:
    """The leaderboard of the written job at the smallest size."""
    spec = load_job(job).spec
    small = ["execution.executor=local", "execution.budget=null", "tracking.enabled=false"]
    for name, params in spec.members.items():
        small += [f"members.{name}.copies=1"]
        small += [f"members.{name}.{key}={value}" for key, value in SMALLEST.items() if hasattr(params, key)]
    loaded = load_job(job, [*small, *overrides])
    options = Options(open_store(str(job.parent / "store")), FolderRuns(job.parent / "runs"), "local", pictures=False)
    return run_job(loaded, options, console=Console(file=io.StringIO()), stop=StopRequest())


SMALLEST = {"epochs": 1, "trees": 5, "iterations": 5}


def digits(path: Path, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    pixels = np.clip(images.reshape(-1, 8, 8) * 16, 0, 255).astype(np.uint8)[:rows]
    np.savez(path, images=pixels, labels=labels[:rows])
    return pixels, labels[:rows]


def pictures(root: Path, counts: dict[str, int], *, side: int = 20, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    for k, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 90, (side, side + 4, 3)) + np.array([160 * (k % 2), 0, 80 * k])
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{name}{i}.png")


def visits(rows: int = 240, *, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    age, job = random.integers(18, 80, rows).astype(float), random.choice(["clerk", "nurse", "smith"], rows)
    came = np.where(age / 20 + (job == "nurse") + random.normal(0, 0.5, rows) > 3, "yes", "no")
    age[::10] = np.nan
    when = pd.date_range("2024-01-01", periods=rows).strftime("%Y-%m-%d")
    number = 1000 + random.permutation(rows)
    columns = {"number": number, "age": age, "job": job, "site": "north", "when": when, "note": None}
    return pd.DataFrame({**columns, "came": came})


# What it finds and writes


def test_digits_in_an_archive_give_a_job_that_runs_as_it_is(init: Init, tmp_path: Path) -> None:
    pixels, labels = digits(tmp_path / "digits.npz")

    code, out, err = init("digits.npz", "--json")

    assert code == 0, err
    said = json.loads(out)
    found = said["fingerprint"]
    assert found["rows"] == 1797
    assert found["classes"] == {str(k): int(count) for k, count in enumerate(np.bincount(labels))}
    assert found["repeats"]["train"] == len(pixels) - len(np.unique(pixels.reshape(-1, 64), axis=0))
    assert found["images"]["channels"] == 1
    assert said["estimated_seconds"] <= 1800
    kinds = {member["params"]["kind"] for member in said["members"]}
    assert {"net", "svm", "random_forest", "extra_trees", "logistic", "knn"} <= kinds, "small data: every kind"
    spec = load_job(tmp_path / "job.yaml").spec
    assert (spec.validation.scheme, spec.validation.folds) == ("kfold", 5)
    assert spec.name == "digits"
    board = smoke(tmp_path / "job.yaml", "data.limit=200", "validation.folds=2")
    assert board.tasks.failed == 0
    assert len(board.members) == len(spec.members)


def test_every_choice_is_shown_with_its_rule_below_the_fingerprint(init: Init, tmp_path: Path) -> None:
    digits(tmp_path / "digits.npz")

    code, out, _ = init("digits.npz", "--budget", "5m")

    text = (tmp_path / "job.yaml").read_text()
    assert code == 0
    assert "# training rows     1,797 in digits.npz" in text
    assert re.search(r"test: \{fraction: 0.2\} +# held out, stratified by class: at least 500 rows .1,797.", text)
    assert "fewer than 20,000 training rows (1,438), so each row is used for validation once" in text
    assert "budget: 5m" in text
    members = text[text.index("members:") : text.index("combiner:")]
    assert len(re.findall(r"^  [a-z_]+:", members, re.MULTILINE)) == members.count("# ")
    assert "quorate train job.yaml" in out
    assert re.search(r"about \d+ (s|min) on \d+ cores? \(budget 5m\)", out)
    assert max(map(len, text.splitlines())) <= 120


def test_a_folder_with_corrupt_files_gives_a_job_that_skips_and_counts_them(init: Init, tmp_path: Path) -> None:
    pictures(tmp_path / "pets", {"cat": 12, "dog": 13, "eel": 12})
    (tmp_path / "pets/dog/dog3.png").write_bytes(b"no picture")
    whole = (tmp_path / "pets/eel/eel1.png").read_bytes()
    (tmp_path / "pets/eel/eel1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pets/cat/again.png").write_bytes((tmp_path / "pets/dog/dog0.png").read_bytes())

    code, out, err = init("pets")

    assert code == 0, err
    assert "2 of 38" in out
    assert "dog3.png: not a JPEG, PNG, WebP" in " ".join(out.split())
    assert "duplicates of other training rows: 1 (2.8%); duplicates with different labels: 2" in out
    text = (tmp_path / "job.yaml").read_text()
    assert re.search(r"on_corrupt: skip +# 2 of 38 files are corrupt: dog3.png, eel1.png", text)
    assert "size: 20" in text
    board = smoke(tmp_path / "job.yaml", "validation.folds=2")
    assert board.tasks.failed == 0
    assert len(open_data(load_job(tmp_path / "job.yaml")).train) == 36


def photographs(root: Path) -> None:
    """Sixty colour pictures of 64 pixels in two classes, and a folder with two weights files of one network."""
    pictures(root / "pets", {"cat": 30, "dog": 30}, side=64)
    (root / "weights").mkdir()
    for seed, tag in enumerate(("first", "second")):
        write_weights(root / f"weights/test_resnet.{tag}.safetensors", seed=seed)
    (root / "weights/unknown.safetensors").touch()


def test_weights_in_a_folder_give_frozen_features_alone_and_joined_and_a_network_that_is_fine_tuned(
    init: Init, tmp_path: Path
) -> None:
    photographs(tmp_path)

    code, out, err = init("pets", "--weights", "weights")

    assert code == 0, err
    assert "left out: cannot tell the architecture of unknown.safetensors" in out
    ranked = re.findall(r"^  (test_resnet-[12]): probe NLL \d\.\d{3}.*; weights/test_resnet", out, re.MULTILINE)
    assert sorted(ranked) == ["test_resnet-1", "test_resnet-2"]
    spec = load_job(tmp_path / "job.yaml").spec
    assert set(spec.members) == {"logistic-joined", *(f"logistic-{name}" for name in ranked), f"tuned-{ranked[0]}"}
    alone = tuple(spec.members[f"logistic-{name}"].features for name in ranked)
    assert spec.members["logistic-joined"].features.of == alone
    tuned = spec.members[f"tuned-{ranked[0]}"]
    assert tuned.weights == alone[0].weights, "the best one"
    assert "weights: weights/test_resnet" in (tmp_path / "job.yaml").read_text(), "relative, as the data"
    two_epochs = f"members.tuned-{ranked[0]}.epochs=2"  # the first one trains the head alone
    board = smoke(tmp_path / "job.yaml", "validation={scheme: holdout, fraction: 0.3}", two_epochs)
    assert board.tasks.failed == 0


def test_without_weights_and_hub_networks_start_from_scratch_and_the_fix_is_said(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    code, out, err = init("pets", "--hub", "never")
    refused, _, why = init("pets", "--weights", "hub", "--hub", "never", "-o", "other.yaml")

    assert code == 0, err
    assert "may not be asked (--hub never); networks start from scratch" in out
    assert "give weights files with --weights FOLDER" in out
    assert all(getattr(one, "weights", None) is None for one in load_job(tmp_path / "job.yaml").spec.members.values())
    assert refused == 2 and "--weights hub: none of 5 usual networks is in the cache of this machine" in why


def test_a_class_of_a_single_picture_is_named_with_the_fix(init: Init, tmp_path: Path) -> None:
    pictures(tmp_path / "pets", {"cat": 12, "dog": 13, "eel": 2})
    (tmp_path / "pets/eel/eel1.png").write_bytes(b"")

    code, _, err = init("pets")

    assert code == 2
    assert "the class eel has only one picture that can be read" in err
    assert "add pictures to its folder, or remove the folder" in err
    assert not (tmp_path / "job.yaml").exists()
    (tmp_path / "pets/eel").rename(tmp_path / "eel")
    assert init("pets")[0] == 0, "the fix that it names"


def test_row_numbers_and_empty_columns_without_a_name_are_no_features_and_no_label(init: Init, tmp_path: Path) -> None:
    # given: what DataFrame.to_csv() writes, with two empty columns of a spreadsheet
    lines = visits().to_csv().splitlines()
    (tmp_path / "visits.csv").write_text("\n".join(line + ",," for line in lines) + "\n")

    # when
    rc, out, _ = init("visits.csv", "--output", "job.yaml")

    # then
    assert rc == 0, out
    data = load_job(tmp_path / "job.yaml").spec.data
    assert data.label == visits().columns[-1]
    assert data.columns["Unnamed: 0"] == "ignore"
    assert open_data(load_job(tmp_path / "job.yaml")).train.x.signature.names() == ["age", "job"]


def test_a_column_of_numbers_with_a_few_texts_is_ignored_and_the_fix_is_named(init: Init, tmp_path: Path) -> None:
    # given: 8 of 240 rows, those whose number 30 divides
    incomes = [str(i * 10 + 0.5) if i % 30 else "n/a" for i in range(240)]
    pd.DataFrame({"income": incomes, "city": list("abcd") * 60, "label": list("xy") * 120}).to_csv(
        tmp_path / "loans.csv", index=False
    )

    code, _, err = init("loans.csv")

    assert code == 0, err
    text = (tmp_path / "job.yaml").read_text()
    assert re.search(
        r"income .* ignored: 'n/a' \(8 times\), where the other 232 values are numbers; "
        r"correct these cells, or add their texts to `missing`",
        text,
    )


def test_identifiers_constants_dates_and_empty_columns_are_ignored_with_the_reason(init: Init, tmp_path: Path) -> None:
    frame = visits()
    frame.to_csv(tmp_path / "visits.csv", index=False)

    code, out, err = init("visits.csv", "--json")

    assert code == 0, err
    table = json.loads(out)["fingerprint"]["table"]
    assert (table["label"], table["guess"]) == ("came", "the last column")
    columns = {column["name"]: column for column in table["columns"]}
    assert {name for name, column in columns.items() if column["ignore"]} == {"number", "site", "when", "note"}
    assert columns["age"]["missing"] == pytest.approx(frame["age"].isna().mean())
    assert columns["age"]["distinct"] == frame["age"].nunique()
    text = (tmp_path / "job.yaml").read_text()
    assert re.search(r"number: ignore +# a different number in every row", text)
    assert re.search(r"site: ignore +# the same value in every row", text)
    assert re.search(r"when: ignore +# dates cannot be features; use `time: when`", text)
    board = smoke(tmp_path / "job.yaml", "validation.folds=2")
    assert board.tasks.failed == 0


def test_test_rows_next_to_the_training_rows_are_used_and_leaks_are_reported(init: Init, tmp_path: Path) -> None:
    data = tmp_path / "photos"
    pictures(data / "train", {"cat": 8, "dog": 8})
    pictures(data / "val", {"cat": 3, "dog": 3}, seed=1)
    (data / "val/dog/dog9.png").write_bytes((data / "train/dog/dog0.png").read_bytes())

    code, out, err = init("photos")

    assert code == 0, err
    assert "test rows that are also training rows: 1; this leak" in out
    spec = load_job(tmp_path / "job.yaml").spec
    assert spec.data.train == data / "train"
    assert spec.data.test == data / "val"
    assert spec.name == "photos"


def test_a_test_table_without_labels_is_not_tested_on(init: Init, tmp_path: Path) -> None:
    (tmp_path / "kaggle").mkdir()
    visits(600).rename(columns={"came": "Result"})[["Result", "age", "job"]].to_csv(
        tmp_path / "kaggle/train.csv", index=False
    )
    visits(50, seed=1)[["age", "job"]].to_csv(tmp_path / "kaggle/test.csv", index=False)

    code, out, err = init("kaggle")

    assert code == 0, err
    assert "Result (a guess: the only column that test.csv lacks" in out
    assert "has no label column 'Result', so it cannot be the test set and is left out" in out
    assert load_job(tmp_path / "job.yaml").spec.data.test.fraction == 0.2


def test_a_test_table_that_lacks_a_feature_does_not_change_the_choice_of_the_label(init: Init, tmp_path: Path) -> None:
    visits().assign(label=["yes", "no"] * 120).to_csv(tmp_path / "all.csv", index=False)
    visits(40, seed=1).assign(label="yes").drop(columns="age").to_csv(tmp_path / "some.csv", index=False)

    code, _, err = init("all.csv", "--test", "some.csv")

    assert code == 2
    assert "some.csv lacks the columns age of all.csv" in err


def test_labels_that_are_equal_as_numbers_are_classes_of_their_own_as_in_training(init: Init, tmp_path: Path) -> None:
    texts = ["01", "1", "2"] * 40
    pd.DataFrame({"a": [0.5, 1.5, 2.5, 3.5] * 30, "label": texts}).to_csv(tmp_path / "coded.csv", index=False)

    code, out, err = init("coded.csv", "--budget", "1m", "--json")

    assert code == 0, err
    assert json.loads(out)["fingerprint"]["classes"] == {"01": 40, "1": 40, "2": 40}
    board = smoke(tmp_path / "job.yaml", "validation.folds=2")
    assert board.tasks.failed == 0


def test_a_budget_below_the_cheapest_job_is_reported(init: Init, tmp_path: Path) -> None:
    digits(tmp_path / "digits.npz")

    code, out, _ = init("digits.npz", "--budget", "1s")

    assert code == 0
    assert "This is more than the budget" in out
    assert "1 members" not in out


def test_a_semicolon_separates_and_parquet_is_read(init: Init, tmp_path: Path) -> None:
    visits(80)[["age", "job", "came"]].to_csv(tmp_path / "odd.csv", index=False, sep=";")
    visits(80)[["age", "job", "came"]].to_parquet(tmp_path / "columns.parquet")

    assert init("odd.csv")[0] == 0
    assert 'separator: ";"' in (tmp_path / "job.yaml").read_text()
    assert init("columns.parquet", "-o", "other.yaml")[0] == 0
    assert load_job(tmp_path / "other.yaml").spec.data.kind == "parquet"


def test_column_names_and_paths_that_yaml_would_misread_are_quoted(init: Init, tmp_path: Path) -> None:
    odd = {"age": "on: #1", "job": "null", "number": "1e3", "came": "yes"}
    (tmp_path / "my data: #2").mkdir()
    visits()[list(odd)].rename(columns=odd).to_csv(tmp_path / "my data: #2/Größe.csv", index=False)

    code, _, err = init("my data: #2/Größe.csv")

    assert code == 0, err
    spec = load_job(tmp_path / "job.yaml").spec
    assert spec.data.label == "yes"
    assert spec.data.columns == {"1e3": "ignore"}


def test_a_large_folder_is_sampled_and_that_is_said(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MOST_FILES", 10)
    pictures(tmp_path / "many", {"cat": 20, "dog": 20})

    code, out, _ = init("many")

    assert code == 0
    assert "a sample of 10 of the 40 files" in out
    assert "40 in many" in out
    assert "on_corrupt: skip" in (tmp_path / "job.yaml").read_text(), "the others may be corrupt"


def test_only_the_first_of_very_many_arrays_are_compared(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_ROWS", 100)
    digits(tmp_path / "digits.npz", 200)

    code, out, err = init("digits.npz")

    assert code == 0, err
    assert "only the first 100 of 200 rows" in out


# What it does not touch


def test_an_existing_file_is_kept_without_force_and_if_init_fails(init: Init, tmp_path: Path) -> None:
    digits(tmp_path / "digits.npz", 300)
    (tmp_path / "job.yaml").write_text("mine")
    (tmp_path / "bad.csv").write_text("a,b\n1,2.5\n2,3.5\n")

    refused, _, err = init("digits.npz")
    failed, _, _ = init("bad.csv", "--force")

    assert (refused, failed) == (2, 2)
    assert "job.yaml exists" in err
    assert (tmp_path / "job.yaml").read_text() == "mine"
    assert init("digits.npz", "--force")[0] == 0
    assert load_job(tmp_path / "job.yaml").spec.name == "digits"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "digits.npz", "job.yaml"]


# What it refuses


def table(rows: dict[str, Any]) -> Callable[[Path], str]:
    def write(here: Path) -> str:
        pd.DataFrame(rows).to_csv(here / "data.csv", index=False)
        return "data.csv"

    return write


def arrays(**named: np.ndarray) -> Callable[[Path], str]:
    def write(here: Path) -> str:
        np.savez(here / "data.npz", **named)
        return "data.npz"

    return write


def file(name: str, content: str = "x") -> Callable[[Path], str]:
    def write(here: Path) -> str:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(content)
        return name.split("/")[0]

    return write


def all_corrupt(here: Path) -> str:
    for name in ("cat/a.jpg", "cat/b.jpg", "dog/a.jpg"):
        file(f"pets/{name}")(here)
    return "pets"


def one_class(here: Path) -> str:
    pictures(here / "pets", {"cat": 5})
    return "pets"


def unknown_class(here: Path) -> str:
    pictures(here / "pets/train", {"cat": 5, "dog": 5})
    pictures(here / "pets/test", {"cat": 2, "fox": 2})
    return "pets"


def loose(here: Path) -> str:
    pictures(here / "pets", {"cat": 5})
    return "pets/cat"


def deeper(here: Path) -> str:
    pictures(here / "pets/all", {"cat": 3, "dog": 3})
    return "pets"


def parquet(label: list[Any]) -> Callable[[Path], str]:
    def write(here: Path) -> str:
        pd.DataFrame({"a": [1, 2, 3, 4], "label": label}).to_parquet(here / "data.parquet")
        return "data.parquet"

    return write


U8 = np.zeros((6, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("write", "arguments", "expected"),
    [
        (lambda here: "nothing", (), "nothing does not exist"),
        (file("data.xlsx"), (), "save the sheet as CSV"),
        (file("data.foo"), (), "an unknown format; Quorate reads an .npz"),
        (
            file("pets/cat/a.heic"),
            (),
            "a.heic has an unsupported format; save the pictures as JPEG, PNG",
        ),
        (file("pets/readme.md"), (), "contains no data that Quorate can read (it contains readme.md)"),
        (all_corrupt, (), "none of the 3 pictures in pets can be decoded"),
        (one_class, (), "all rows have the class 'cat'; a classifier needs"),
        (unknown_class, (), "has the classes fox, but pets/train does not"),
        (loose, (), "put the pictures of each class into a folder"),
        (deeper, (), "give the folder that contains the class folders, e.g. pets/all"),
        (arrays(images=U8), (), "no array has a label for each"),
        (arrays(images=U8 / 2, labels=np.arange(6) % 2), (), "images must be uint8 (0..255); scale and convert"),
        (arrays(x=np.zeros((6, 3)), y=np.arange(6)), (), "save tabular data as CSV"),
        (
            arrays(images=U8, labels=np.arange(6) / 2),
            (),
            "Quorate is for classification: convert the labels to classes",
        ),
        (arrays(images=U8, labels=np.zeros(6, int)), (), "all rows have the class '0'"),
        (arrays(images=U8, labels=np.array([0, 0, 0, 1, 1, 2])), (), "the class 2 has only one row"),
        (arrays(images=U8, labels=np.arange(6) % 2), ("--label", "y"), "--label is for tables"),
        (arrays(images=U8, labels=np.arange(6) % 2), ("--budget", "soon"), "--budget: 'soon' is not a time"),
        (arrays(images=U8, labels=np.arange(6) % 2), ("-o", "no/job.yaml"), "the folder no does not exist"),
        (file("data.npz"), (), "is not a complete .npz archive; save images and labels with numpy.savez"),
        (table({"a": [1, 2, 3, 4], "kind": list("xyxy")}), ("--label", "kid"), "did you mean 'kind'?"),
        (
            table({"a": [1, 2, 3], "price": [1.5, 2.5, 3.25]}),
            (),
            "this is a quantity, but Quorate is for classification",
        ),
        (table({"a": range(500), "price": range(500)}), (), "500 different numbers in 500 rows"),
        (table({"a": range(200), "b": [f"t{i}" for i in range(200)]}), (), "give it with --label"),
        (table({"a": [1, 2, 3, 4], "b": ["x", "y", None, "x"]}), (), "1 of 4 rows have no label in the column 'b'"),
        (table({"a": [1, 2, 1], "b": ["x", "y", "x"]}), (), "the class y has only one row"),
        (parquet([[0], [1], [0], [1]]), (), "the label 'label' holds ndarray; classes are integers or text"),
        (parquet([b"\xc8", b"\xc9", b"\xc8", b"\xc9"]), (), "the label 'label' holds bytes that are not UTF-8 text"),
        (table({"a": [1, 1, 1, 1], "b": list("xyxy")}), (), "no usable feature besides the label 'b'"),
        (file("data.csv", "a,b\n"), (), "has no rows"),
        (table({"a": [1, 2, float("inf"), 3], "b": list("xyxy")}), (), "line 4: the numeric column 'a' holds inf"),
    ],
)
def test_data_that_cannot_become_a_job_get_an_error_with_the_fix(
    init: Init, tmp_path: Path, write: Callable[[Path], str], arguments: tuple[str, ...], expected: str
) -> None:
    code, _, err = init(write(tmp_path), *arguments)

    assert code == 2
    assert expected in " ".join(err.split())
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*job*")), "nothing is half written"
    assert not list(tmp_path.glob(".*"))


def test_rows_of_one_class_in_two_spellings_do_not_contradict_each_other(init: Init, tmp_path: Path) -> None:
    rows = [f"{i % 2},{i // 2},{(('1', '1.0') if i % 2 else ('2', ' 2'))[i // 40]}" for i in range(80)]
    rows += rows[:2] + [row.rpartition(",")[0] + {"1": ",1.0", "2": ",2.0"}[row[-1]] for row in rows[:2]]
    (tmp_path / "data.csv").write_text("a,b,label\n" + "\n".join(rows) + "\n")

    code, out, _ = init("data.csv", "--json")

    found = json.loads(out)["fingerprint"]
    assert (code, found["classes"]) == (0, {"1": 42, "2": 42})
    assert (found["repeats"]["train"], found["repeats"]["labels"]) == (4, 0)


def test_labels_that_are_floats_are_found_by_their_name(init: Init, tmp_path: Path) -> None:
    images, labels = digits(tmp_path / "plain.npz", 100)
    np.savez(tmp_path / "data.npz", images=images, confidence=np.linspace(0, 1, 100), labels=labels.astype(float))

    code, out, err = init("data.npz")

    assert (code, err) == (0, "")
    assert "contains other arrays, which are not used: confidence" in out


def test_dates_are_recognized_by_the_values_of_a_column_and_not_by_its_name(init: Init, tmp_path: Path) -> None:
    visits(80).assign(updates=[b"\xff", b"\xfe"] * 40).to_parquet(tmp_path / "data.parquet")

    code, out, _ = init("data.parquet", "--label", "came")

    assert code == 0
    assert "ignored: bytes that are not UTF-8 text" in out and "`time: updates`" not in out


@pytest.mark.parametrize("linked", [False, True])
def test_a_job_moves_together_with_its_data_wherever_it_is_written(init: Init, tmp_path: Path, linked: bool) -> None:
    """Data in a folder of their own, the job in another, which may be a link to a third."""
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    (project / "deep" / "jobs").mkdir(parents=True)
    visits().to_csv(project / "data/train.csv", index=False)
    visits(60, seed=1).to_csv(project / "data/test.csv", index=False)
    jobs = project / "deep" / "jobs"
    if linked:
        (project / "link").symlink_to(jobs)
        jobs = project / "link"

    code, _, errors = init(str(project / "data"), "-o", str(jobs / "job.yaml"))

    assert code == 0, errors
    lines = (jobs / "job.yaml").read_text().splitlines()
    assert not [line for line in lines if str(tmp_path) in line and not line.startswith("#")]
    project.rename(tmp_path / "moved")
    data = load_job(tmp_path / "moved/deep/jobs/job.yaml").spec.data
    assert data.train.samefile(tmp_path / "moved/data/train.csv")
    assert data.test.samefile(tmp_path / "moved/data/test.csv")
