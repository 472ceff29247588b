"""A saved model that was tampered with is refused before it could read beyond its arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skops.io
from tests.members.configurations import trained
from tests.tiny import tiny_data

from quorate.members.base import HEADER, load_member
from quorate.members.random_forest import RandomForest
from quorate.members.svm import Svm

DATA = tiny_data(rows=60)


def saved(configuration: dict, folder: Path) -> Path:
    trained(configuration, DATA, DATA).save(folder)
    return folder / "model.skops"


def rewrite(path: Path, kind: type, change) -> None:
    model = skops.io.load(path, trusted=list(kind.trusted))
    change(model)
    skops.io.dump(model, path)


def first_split(nodes: np.ndarray) -> int:
    return int(np.flatnonzero(nodes["left_child"] != -1)[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left_child", 1 << 30),
        ("right_child", 1 << 30),
        ("right_child", -7),
        ("left_child", -2),
        ("left_child", 0),  # back to the root: it would never end
        ("right_child", -1),  # half a leaf
        ("feature", 64),
        ("feature", -5),
    ],
)
def test_a_forest_that_points_outside_its_arrays_is_refused(field, value, tmp_path):
    # given
    path = saved({"kind": "random_forest", "trees": 3}, tmp_path)

    def tamper(forest) -> None:
        tree = forest.estimators_[1].tree_
        state = tree.__getstate__()
        state["nodes"] = state["nodes"].copy()
        state["nodes"][field][first_split(state["nodes"])] = value
        tree.__setstate__(state)

    load_member(tmp_path)

    # when
    rewrite(path, RandomForest, tamper)

    # then
    with pytest.raises(ValueError, match="the saved forest is inconsistent: a tree points outside its nodes or feat"):
        load_member(tmp_path)


def test_a_forest_for_other_images_than_its_header_says_is_refused(tmp_path):
    saved({"kind": "random_forest", "trees": 3}, tmp_path)
    header = json.loads((tmp_path / HEADER).read_text())
    header["features"]["input"]["shape"] = [2, 1, 1]
    (tmp_path / HEADER).write_text(json.dumps(header))

    with pytest.raises(ValueError, match="the saved forest is inconsistent"):
        load_member(tmp_path)


@pytest.mark.parametrize(
    ("attribute", "change"),
    [
        ("support_vectors_", lambda array: array[:, :3].copy()),
        ("support_vectors_", lambda array: array[:3].copy()),
        ("support_", lambda array: array[:3].copy()),
        ("_dual_coef_", lambda array: array[:1, :1].copy()),
        ("_intercept_", lambda array: array[:1].copy()),
        ("_n_support", lambda array: np.array([array.sum()], np.int32)),
        ("_n_support", lambda array: array + np.array([10_000, -10_000, 0], np.int32)),
        ("_n_support", lambda array: array + np.array([1, 0, 0], np.int32)),
        ("classes_", lambda array: array[:2].copy()),
    ],
)
def test_an_svm_whose_arrays_do_not_match_is_refused(attribute, change, tmp_path):
    # given
    path = saved({"kind": "svm"}, tmp_path)
    load_member(tmp_path)

    def tamper(model) -> None:
        machine = model.calibrated_classifiers_[0].estimator
        setattr(machine, attribute, change(getattr(machine, attribute)))

    # when
    rewrite(path, Svm, tamper)

    # then
    with pytest.raises(ValueError, match="the saved SVM is inconsistent"):
        load_member(tmp_path)


def test_types_that_the_kind_does_not_list_are_not_loaded(tmp_path):
    """A forest under an SVM's name: its trees are not among what an SVM may hold."""
    saved({"kind": "random_forest", "trees": 3}, tmp_path)
    header = json.loads((tmp_path / HEADER).read_text())
    (tmp_path / HEADER).write_text(json.dumps(header | {"kind": "svm", "params": {"kind": "svm"}}))

    with pytest.raises(TypeError, match=r"sklearn\.tree\._tree\.Tree"):
        load_member(tmp_path)


def test_a_member_of_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / HEADER).write_text('{"kind": "oracle"}')

    with pytest.raises(ValueError, match="unknown member kind 'oracle'"):
        load_member(tmp_path)


def test_the_svm_says_when_a_class_is_too_small_for_its_calibration():
    lonely = DATA.take(np.array([0, 3, 6, 9, 1, 4, 7, 2]))  # one row of the class 2

    with pytest.raises(ValueError, match="a class has one row in this fold; the SVM's calibration needs two"):
        trained({"kind": "svm"}, lonely, DATA)
