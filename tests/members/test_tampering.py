"""A saved model that was tampered with is refused before it could read beyond its arrays."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from tests.members.configurations import trained
from tests.tiny import tiny_data, tiny_table

from quorate.data.dataset import Dataset
from quorate.members.base import HEADER, load_member
from quorate.members.gradient_boosting import GradientBoosting
from quorate.members.knn import Knn
from quorate.members.random_forest import RandomForest
from quorate.members.svm import Svm

DATA = tiny_data(rows=60)
TABLE = tiny_table(rows=60)
MANY = tiny_table(rows=600)


def saved(configuration: dict, folder: Path, *, data: Dataset = DATA, name: str = "model.skops") -> Path:
    trained(configuration, data, data).save(folder)
    return folder / name


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
    with pytest.raises(ValueError, match="the saved forest is inconsistent: a tree refers to nodes or feat"):
        load_member(tmp_path)


def test_a_forest_for_other_images_than_its_header_says_is_refused(tmp_path):
    saved({"kind": "random_forest", "trees": 3}, tmp_path)
    header = json.loads((tmp_path / HEADER).read_text())
    header["features"]["input"]["shape"] = [2, 1, 1]
    (tmp_path / HEADER).write_text(json.dumps(header))

    with pytest.raises(ValueError, match="the saved forest is inconsistent"):
        load_member(tmp_path)


BOOSTING = {"iterations": 3, "patience": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [("left", 1 << 30), ("right", 1 << 31), ("left", 0), ("feature_idx", 5), ("feature_idx", -1), ("bitset_idx", 9)],
)
def test_a_boosting_model_that_points_outside_its_arrays_is_refused(field, value, tmp_path):
    # given
    path = saved({"kind": "gradient_boosting", "min_samples_leaf": 3, **BOOSTING}, tmp_path, data=TABLE)
    load_member(tmp_path)

    def tamper(model) -> None:
        (nodes,) = [
            tree.nodes
            for tree in (tree for round_ in model._predictors for tree in round_)
            if tree.nodes["is_categorical"].any()
        ][:1]
        nodes[field][np.flatnonzero(nodes["is_categorical"])[0]] = value

    # when
    rewrite(path, GradientBoosting, tamper)

    # then
    with pytest.raises(ValueError, match="the saved boosting is inconsistent: a tree refers to nodes, feat"):
        load_member(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model._predictors[1].pop(), "a round does not have one tree per class"),
        (lambda model: model._bin_mapper.bin_thresholds_.pop(), "it was trained on other columns"),
        (lambda model: model._bin_mapper.bin_thresholds_[0].__setitem__(0, 1e9), "it has a category code above 255"),
        (
            lambda model: setattr(model._preprocessor.transformers_[1][1], "func", None),
            "scikit-learn did not prepare its columns",
        ),
    ],
)
def test_a_boosting_model_whose_parts_do_not_match_is_refused(change, message, tmp_path):
    path = saved({"kind": "gradient_boosting", "min_samples_leaf": 3, **BOOSTING}, tmp_path, data=TABLE)

    rewrite(path, GradientBoosting, change)

    with pytest.raises(ValueError, match="the saved boosting is inconsistent: " + message):
        load_member(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("left_child=", "left_child=99 ", 1),
        lambda text: re.sub(r"left_child=\S+", "left_child=1000000", text, count=1),
        lambda text: re.sub(r"right_child=\S+", "right_child=-1000000", text, count=1),
        lambda text: re.sub(r"right_child=\S+", "right_child=0", text, count=1),
        lambda text: re.sub(r"split_feature=\S+", "split_feature=5", text, count=1),
        lambda text: re.sub(r"leaf_value=\S+", "leaf_value=", text, count=1),
        lambda text: re.sub(r"cat_boundaries=0 \S+", "cat_boundaries=0 1000", text, count=1),
        lambda text: re.sub(r"num_cat=[1-9]", "num_cat=7", text, count=1),
        lambda text: text.replace("max_feature_idx=4", "max_feature_idx=400000"),
        lambda text: text.replace("num_class=3", "num_class=300"),
    ],
)
def test_a_lightgbm_model_that_points_outside_its_arrays_is_refused(change, tmp_path):
    # given: little noise in the categories, so that they are split
    path = saved({"kind": "lightgbm", "min_samples_leaf": 3, **BOOSTING}, tmp_path, data=MANY, name="model.txt")
    load_member(tmp_path)
    text = path.read_text()
    assert "cat_boundaries=0 1" in text

    # when
    changed = change(text)
    assert changed != text
    path.write_text(changed)

    # then
    with pytest.raises(ValueError, match="the saved LightGBM model is inconsistent"):
        load_member(tmp_path)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("trees.2.left_children.0", 1000),
        ("trees.2.left_children.0", 0),
        ("trees.2.right_children.0", -1),
        ("trees.2.split_indices.0", 5),
        ("trees.2.split_conditions", [1.0]),
        ("trees.2.tree_param.num_nodes", "100000"),
        ("trees.2.categories_nodes", [0, 0, 0]),
        ("trees.2.categories", [1 << 30]),
        ("tree_info.0", 3),
        ("iteration_indptr.3", 1000),
        ("gbtree_model_param.num_trees", "1000"),
        ("gbtree_model_param.num_parallel_tree", "7"),
    ],
)
def test_an_xgboost_model_that_points_outside_its_arrays_is_refused(where, value, tmp_path):
    pytest.importorskip("xgboost")
    path = saved({"kind": "xgboost", **BOOSTING}, tmp_path, data=MANY, name="model.json")
    load_member(tmp_path)

    change_json(path, f"learner.gradient_booster.model.{where}", value)

    with pytest.raises(ValueError, match="the saved XGBoost model is inconsistent"):
        load_member(tmp_path)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("oblivious_trees.1.leaf_values", [0.5]),
        ("oblivious_trees.1.splits.0", {"split_type": "FloatFeature", "float_feature_index": 3, "border": 1.0}),
        ("oblivious_trees.1.splits.0", {"split_type": "OneHotFeature", "cat_feature_index": 2, "value": 1}),
        ("features_info.float_features.0.feature_index", 7),
        ("features_info.categorical_features.0.flat_feature_index", 70),
        ("features_info.float_features", []),
        ("trees", []),
    ],
)
def test_a_catboost_model_whose_parts_do_not_match_is_refused(where, value, tmp_path):
    path = saved({"kind": "catboost", **BOOSTING}, tmp_path, data=MANY, name="model.json")
    load_member(tmp_path)

    change_json(path, where, value)

    with pytest.raises(ValueError, match="the saved CatBoost model is inconsistent"):
        load_member(tmp_path)


def change_json(path: Path, where: str, value: Any) -> None:
    content = json.loads(path.read_text())
    *way, last = [int(key) if key.isdecimal() else key for key in where.split(".")]
    functools.reduce(lambda part, key: part[key], way, content)[last] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model._y.__setitem__(0, 3),
        lambda model: model._y.__setitem__(0, -1),
        lambda model: setattr(model, "_y", model._y[:5]),
        lambda model: setattr(model, "_fit_X", model._fit_X[:, :5].copy()),
        lambda model: setattr(model, "n_neighbors", 1000),
    ],
)
def test_neighbours_that_do_not_match_are_refused(change, tmp_path):
    path = saved({"kind": "knn"}, tmp_path)
    load_member(tmp_path)

    rewrite(path, Knn, change)

    with pytest.raises(ValueError, match="the saved nearest-neighbour model is inconsistent"):
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

    with pytest.raises(ValueError, match="a class has only one training row in this fold, but the SVM's"):
        trained({"kind": "svm"}, lonely, DATA)
