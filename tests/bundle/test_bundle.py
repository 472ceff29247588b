"""A bundle that differs from its manifest is refused with the reason; members can fail as long as the quorum is met."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from tests.bundle.manifests import a_manifest, saved_member
from tests.ensemble.samples import labels, members
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.bundle import (
    MANIFEST,
    UNSEEN,
    Bundle,
    BundleError,
    CopiedFile,
    QuorumLost,
    hashes_of,
    verified_manifest,
    write_bundle,
)
from quorate.data.dataset import ArrayImages
from quorate.data.signature import ImageSignature
from quorate.ensemble.combination import single_member
from quorate.ensemble.combiners.vote import Vote
from quorate.ensemble.temperature_scaling import apply_temperature
from quorate.errors import UserError
from quorate.job.bundle_files import unseen_file
from quorate.members.base import Member
from quorate.members.logistic import Logistic, LogisticParams
from quorate.members.random_forest import RandomForest, RandomForestParams

ROWS = tiny_data(rows=9, seed=4).x.pixels


@pytest.fixture(scope="module")
def trained() -> dict[str, list[Member]]:
    """Two folds of a logistic regression, one of a forest."""
    parts = [tiny_data(seed=seed) for seed in (1, 2, 3)]
    rows = {"signature": ImageSignature((8, 8, 1)), "n_classes": 3}
    return {
        "line": [Logistic(LogisticParams(), **rows).fit(part, part, PlainRun()) for part in parts[:2]],
        "wood": [RandomForest(RandomForestParams(trees=5), **rows).fit(parts[2], parts[2], PlainRun())],
    }


def files_of(trained: dict[str, list[Member]], tmp_path: Path) -> dict[str, bytes]:
    files = {}
    for name, folds in trained.items():
        for i, member in enumerate(folds):
            folder = tmp_path / "saved" / name / str(i)
            folder.mkdir(parents=True)
            member.save(folder)
            files |= {f"members/{name}/{i}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return files


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """The bundle of both members and of a third one, which has no weight and no files."""
    files = files_of(trained, tmp_path)
    write_bundle(tmp_path / "bundle", a_manifest(files=hashes_of(files)), files)
    return tmp_path / "bundle"


CALIBRATION = {"kind": "temperature", "temperature": 1.5}
COMBINATION = {
    "kind": "mean",
    "weights": [0.75, 0.25, 0.0],
    "calibrations": [CALIBRATION] * 3,
    "calibration": CALIBRATION,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": [1.0]}, "3 members, but its combination has 1 weights"),
        ({"calibrations": [CALIBRATION]}, "3 weights and 1 calibrations"),
        ({"weights": [0.75, 0.75, 0.0]}, "must be at least 0 and sum to 1, found sum 1.5"),
        ({"weights": [1.5, -0.5, 0.0]}, "must be at least 0 and sum to 1"),
        ({"calibration": {"kind": "magic"}}, "unknown calibration 'magic'"),
        ({"calibration": {"kind": "temperature"}}, "has no 'temperature'"),
        ({"calibration": {"kind": "vector", "slope": {}, "shift": 1}}, "a calibration of the combination is not valid"),
        ({"calibration": {"kind": "isotonic", "points": 3}}, "a calibration of the combination is not valid"),
    ],
)
def test_a_combination_whose_values_do_not_fit_is_refused_in_words(folder, changes, said):
    edit(folder, combination=COMBINATION | changes)

    with pytest.raises(BundleError, match=re.escape(said)) as error:
        verified_manifest(folder)

    assert str(folder / MANIFEST) in str(error.value)


def edit(folder: Path, **changes) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def test_a_bundle_predicts_the_combination_of_its_members(folder, trained):
    bundle = Bundle.load(folder)

    answer = bundle.predict(ROWS, members=True)

    line = np.mean([member.predict_proba(bundle_rows()) for member in trained["line"]], axis=0)
    wood = trained["wood"][0].predict_proba(bundle_rows())
    tempered = 0.75 * apply_temperature(proba=line, temperature=2.0) + 0.25 * wood
    assert answer.proba == pytest.approx(apply_temperature(proba=tempered, temperature=1.5), abs=1e-6)
    assert answer.proba.sum(axis=1) == pytest.approx(np.ones(9))
    assert answer.members is not None and list(answer.members) == ["line", "wood"]
    assert answer.uncertainty is None
    np.testing.assert_array_equal(answer.members["wood"], wood)
    assert answer.lost == ()
    assert (bundle.class_names, bundle.signature) == (("a", "b", "c"), ImageSignature((8, 8, 1)))


def test_its_uncertainty_is_between_the_calibrated_members_by_their_weights(folder, trained):
    found = Bundle.load(folder).predict(ROWS, uncertainty=True).uncertainty

    line = np.mean([member.predict_proba(bundle_rows()) for member in trained["line"]], axis=0)
    members = [apply_temperature(proba=line, temperature=2.0), trained["wood"][0].predict_proba(bundle_rows())]
    alone = [entropy(member, axis=1) for member in members]
    assert found.aleatoric == pytest.approx(0.75 * alone[0] + 0.25 * alone[1], abs=1e-6)
    assert found.entropy == pytest.approx(entropy(0.75 * members[0] + 0.25 * members[1], axis=1), abs=1e-6)
    assert (found.epistemic > 0).any()


def bundle_rows():
    return tiny_data(rows=9, seed=4).x


def test_a_moved_bundle_gives_the_same_predictions(folder, tmp_path):
    here = Bundle.load(folder).predict(ROWS).proba
    moved = shutil.move(folder, tmp_path / "elsewhere" / "b")

    np.testing.assert_array_equal(Bundle.load(Path(moved)).predict(ROWS).proba, here)


def test_an_interrupted_write_leaves_no_partial_bundle(folder):
    assert not folder.with_name("bundle.partial").exists()
    assert not [path for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib", ".pt", ".pth"}]


def test_a_bundle_is_made_of_copies_of_another_one_with_the_same_manifest(folder, tmp_path):
    manifest = verified_manifest(folder)
    files = {name: CopiedFile(folder / name, sha256) for name, sha256 in manifest.files.items()}

    write_bundle(tmp_path / "copy", manifest, files)

    assert (tmp_path / "copy" / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()
    assert verified_manifest(tmp_path / "copy") == manifest
    assert hashes_of(files) == manifest.files
    copy = tmp_path / "copy" / "members/line/0/member.json"
    assert copy.stat().st_ino != (folder / "members/line/0/member.json").stat().st_ino, "no link: files may be changed"


def test_a_file_that_was_changed_is_not_copied_into_another_bundle(folder, tmp_path):
    manifest, name = verified_manifest(folder), "members/wood/0/model.skops"
    (folder / name).write_bytes(b"changed")
    files = {name: CopiedFile(folder / name, sha256) for name, sha256 in manifest.files.items()}

    with pytest.raises(BundleError, match=f"{name} does not match its SHA-256 in the manifest"):
        write_bundle(tmp_path / "copy", manifest, files)

    assert not list(tmp_path.glob("copy*"))


@pytest.mark.parametrize("name", ["members/wood/0/model.skops", "members/line/1/member.json"])
def test_a_changed_byte_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(BundleError, match=f"{name} does not match its SHA-256 in the manifest"):
        Bundle.load(folder)


def test_a_missing_file_is_named(folder):
    (folder / "members/wood/0/model.skops").unlink()

    with pytest.raises(BundleError, match=r"model.skops cannot be read: No such file"):
        Bundle.load(folder)


def test_a_file_outside_the_bundle_is_refused_without_being_read(folder):
    shutil.copytree(folder / "members/wood/0", folder.parent / "outside")
    files = json.loads((folder / MANIFEST).read_text())["files"]
    for name in ("../outside/member.json", str(folder.parent / "outside/member.json")):
        edit(folder, files=files | {name: files["members/wood/0/member.json"]})

        with pytest.raises(BundleError, match=r"lists a file outside the bundle: .*outside/member\.json"):
            Bundle.load(folder)


def test_a_link_that_leads_outside_the_bundle_is_refused(folder):
    name = "members/wood/0/model.skops"
    shutil.move(folder / name, folder.parent / "outside.skops")
    (folder / name).symlink_to(folder.parent / "outside.skops")

    with pytest.raises(BundleError, match="outside the bundle"):
        Bundle.load(folder)


@pytest.mark.parametrize("place", ["../outside", "members/wood", "members/none/0"])
def test_a_member_whose_files_were_not_verified_is_refused(folder, place):
    shutil.copytree(folder / "members/wood/0", folder.parent / "outside")
    edit(folder, members=[saved_member("wood", 1.0, [place])])

    with pytest.raises(BundleError, match=f"lists the member {place}, but not its files"):
        Bundle.load(folder)


def test_a_member_of_an_unknown_kind_is_refused(folder):
    name = "members/wood/0/member.json"
    (folder / name).write_text((folder / name).read_text().replace("random_forest", "random_wood"))
    resign(folder, name)

    with pytest.raises(BundleError, match="the member wood cannot be loaded: unknown member kind 'random_wood'"):
        Bundle.load(folder)


def test_a_saved_model_of_another_type_is_refused(folder):
    wood, line = "members/wood/0/model.skops", "members/line/0/model.skops"
    shutil.copy(folder / line, folder / wood)
    resign(folder, wood)

    with pytest.raises(BundleError, match="the member wood cannot be loaded"):
        Bundle.load(folder)


def resign(folder: Path, name: str) -> None:
    """Write the current hash of a changed file into the manifest."""
    files = json.loads((folder / MANIFEST).read_text())["files"]
    edit(folder, files=files | {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()})


class Broken:
    def predict_proba(self, images):
        raise RuntimeError("out of memory")


def test_a_member_that_raises_an_error_is_left_out_and_named(folder, trained):
    whole = Bundle.load(folder)
    hurt = Bundle(whole.manifest, {"line": trained["line"], "wood": [Broken()]})

    answer = hurt.predict(ROWS, members=True)

    line = np.mean([member.predict_proba(bundle_rows()) for member in trained["line"]], axis=0)
    alone = apply_temperature(proba=apply_temperature(proba=line, temperature=2.0), temperature=1.5)
    assert answer.lost == ("wood",)
    assert answer.members is not None and list(answer.members) == ["line"]
    assert answer.proba == pytest.approx(alone, abs=1e-6)


def test_below_the_quorum_there_is_no_prediction(folder, trained):
    manifest = Bundle.load(folder).manifest.model_copy(update={"quorum": 2})
    hurt = Bundle(manifest, {"line": [Broken()], "wood": trained["wood"]})

    with pytest.raises(QuorumLost, match="1 of 2 members can predict, but the quorum is 2; members that failed: line"):
        hurt.predict(ROWS)


def test_saved_statistics_of_votes_reach_the_requested_coverages(tmp_path: Path) -> None:
    # given: shares of five votes, few different numbers that float32 does not hold
    rng = np.random.default_rng(0)
    y = labels(rng, rows=2_000, classes=4)
    shares = Vote.pool(members=members(rng, y, classes=4, skills=[1.0] * 5), weights=np.full(5, 0.2))
    (tmp_path / UNSEEN).write_bytes(unseen_file(shares, np.ones(2_000, bool), y))
    combination = single_member(member=0, members=1).to_json()

    # when
    with np.load(tmp_path / UNSEEN) as kept:
        manifest = a_manifest(combination=combination, members=[saved_member("one", 1.0, ["members/one/0"])])
        bundle = Bundle(manifest, {}, dict(kept))

    # then
    assert bundle.conformal is not None and bundle.risk_coverage is not None
    for coverage in (0.3, 0.5, 0.7, 0.9):
        held = bundle.conformal.sets(shares, coverage=coverage)[np.arange(2_000), y]
        assert held.mean() >= coverage
    for risk in (0.02, 0.1, 0.2):
        confidence = bundle.risk_coverage.confidence_for(risk)
        assert confidence is not None
        assert (shares.max(axis=1) >= confidence).mean() == pytest.approx(bundle.risk_coverage.at(confidence)[0])


class Fails:
    """Predicts like `member`, but raises an error or returns NaN for rows whose first pixel is `pixel`."""

    def __init__(self, member: Member, pixel: int, *, raises: bool = True) -> None:
        self.member, self.pixel, self.raises, self.calls = member, pixel, raises, 0

    def predict_proba(self, images):
        self.calls += 1
        bad = images.take(np.arange(len(images)))[:, 0, 0, 0] == self.pixel
        if self.raises and bad.any():
            raise RuntimeError("a row that it cannot read")
        proba = self.member.predict_proba(images)
        proba[bad] = np.nan
        return proba


def with_one_bad_row(at: int) -> np.ndarray:
    rows = np.where(ROWS == 7, 8, ROWS)
    rows[at, 0, 0, 0] = 7
    return rows


@pytest.mark.parametrize("raises", [True, False])
def test_a_member_that_fails_for_one_row_is_left_out_of_that_row_alone(folder, trained, raises):
    # given
    whole = Bundle.load(folder)
    hurt = Bundle(whole.manifest, {"line": trained["line"], "wood": [Fails(trained["wood"][0], 7, raises=raises)]})
    rows = with_one_bad_row(4)

    # when
    answer = hurt.predict(rows, members=True, uncertainty=True)

    # then: the others as if nothing had been there, the row by the other member alone
    others = np.arange(9) != 4
    np.testing.assert_array_equal(answer.proba[others], whole.predict(rows).proba[others])
    line = np.mean([member.predict_proba(ArrayImages(rows[4:5])) for member in trained["line"]], axis=0)
    alone = apply_temperature(proba=apply_temperature(proba=line, temperature=2.0), temperature=1.5)
    assert answer.proba[4] == pytest.approx(alone[0], abs=1e-6)
    assert answer.lost == ("wood",) and answer.lost_rows["wood"].tolist() == [not other for other in others]
    assert answer.members is not None and np.isnan(answer.members["wood"]).all(axis=1).tolist() == (~others).tolist()
    assert answer.uncertainty is not None and np.isfinite(answer.uncertainty.entropy).all()
    calibrated = hurt.calibrated(answer.members)["wood"]
    assert np.isnan(calibrated[4]).all() and np.isfinite(calibrated[others]).all()


def test_a_row_that_loses_the_quorum_is_named(folder, trained):
    manifest = Bundle.load(folder).manifest.model_copy(update={"quorum": 2})
    hurt = Bundle(manifest, {"line": trained["line"], "wood": [Fails(trained["wood"][0], 7)]})

    with pytest.raises(QuorumLost, match=r"row 5: only 1 of 2 .* quorum is 2; members that failed: wood") as lost:
        hurt.predict(with_one_bad_row(4))
    assert lost.value.row == 4


def test_a_member_that_always_fails_is_not_called_for_every_row(folder, trained):
    broken = Fails(trained["wood"][0], 8)
    rows = np.full((256, 8, 8, 1), 8, np.uint8)

    answer = Bundle(Bundle.load(folder).manifest, {"line": trained["line"], "wood": [broken]}).predict(rows)

    assert answer.lost == ("wood",) and broken.calls == 31


def test_members_are_calibrated_as_in_the_ensemble(folder, trained):
    bundle = Bundle.load(folder)
    members = bundle.predict(ROWS, members=True).members
    assert members is not None

    found = bundle.calibrated(members)

    assert found["line"] == pytest.approx(apply_temperature(proba=members["line"], temperature=2.0))
    assert found["wood"] == pytest.approx(members["wood"], abs=1e-7)
    # the mean of these with the weights is what the ensemble calibrates in turn
    pooled = 0.75 * found["line"] + 0.25 * found["wood"]
    assert bundle.predict(ROWS).proba == pytest.approx(apply_temperature(proba=pooled, temperature=1.5), abs=1e-6)


def test_predicting_zero_rows_is_an_error(folder):
    with pytest.raises(ValueError, match="are empty"):
        Bundle.load(folder).predict(ROWS[:0])
    with pytest.raises(ValueError, match="there are no rows to predict"):
        Bundle.load(folder).predict(ArrayImages(ROWS).subset(np.arange(0)))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_model_is_moved_to_the_device_that_was_asked_for(folder, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    moved = []
    monkeypatch.setattr(Logistic, "to", lambda self, where: moved.append(where))

    Bundle.load(folder, device=device)

    assert moved == [device] * 2  # a model for each of two folds


def test_a_bundle_is_not_loaded_onto_an_accelerator_that_is_not_there(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(UserError, match="the device is cuda, but PyTorch finds no accelerator"):
        Bundle.load(folder, device="cuda")


def test_a_file_of_a_member_that_the_manifest_does_not_name_is_refused(folder):
    (folder / "members" / "line" / "0" / "more.safetensors").write_bytes(b"x")

    with pytest.raises(BundleError, match=r"members/line/0/more\.safetensors is not in the manifest"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", [".DS_Store", "._header.json", "Thumbs.db", "desktop.ini", "@eaDir/header.json"])
def test_files_of_other_tools_in_a_members_folder_are_ignored(folder, name):
    expected = Bundle.load(folder).predict(ROWS).proba
    path = folder / "members" / "line" / "0" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")

    np.testing.assert_array_equal(Bundle.load(folder).predict(ROWS).proba, expected)


NONE = {"kind": "none"}


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"a\0b": "x"}},
        {"combination": {"kind": "mean", "weights": [2, 3], "calibrations": [], "calibration": {"kind": "none"}}},
        {
            "combination": {
                "kind": "no such combiner",
                "weights": [1],
                "calibrations": [],
                "calibration": {"kind": "none"},
            }
        },
    ],
)
def test_a_manifest_with_values_that_cannot_be_used_is_refused_by_name(folder, changes):
    edit(folder, **changes)

    with pytest.raises(BundleError, match=re.escape(str(folder))):
        Bundle.load(folder)
