"""Other names of a parameter: accepted aliases, and synonyms that help to correct a wrong key."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import AliasChoices, BaseModel

from quorate.errors import did_you_mean

_SYNONYMS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "lr learning_rate eta step_size learning_rate_init",
        "epochs iterations rounds trees n_estimators num_iterations num_boost_round max_iter num_trees nrounds n_iter "
        "num_epochs max_epochs num_rounds boosting_rounds steps max_steps",
        "patience early_stopping early_stopping_rounds early_stopping_round n_iter_no_change od_wait",
        "held_out validation_fraction",
        "batch_size batch minibatch",
        "leaves num_leaves max_leaf_nodes max_leaves",
        "min_samples_leaf min_data_in_leaf min_child_samples min_child_weight nodesize",
        "max_depth depth",
        "l2 weight_decay reg_lambda lambda lambda_l2 l2_regularization l2_leaf_reg alpha penalty",
        "l1 reg_alpha lambda_l1",
        "rows subsample bagging_fraction",
        "columns max_features colsample_bytree feature_fraction rsm mtry",
        "neighbours neighbors n_neighbors k",
        "votes weights",
        "smoothing var_smoothing",
        "arch architecture model backbone",
        "hidden hidden_layer_sizes layers hidden_sizes",
        "width channels",
        "dropout drop_rate drop p_dropout",
        "init initialization initializer",
        "schedule scheduler lr_schedule lr_scheduler",
        "augment augmentation augmentations transforms",
        "tta test_time_augmentation",
        "standardize normalize normalization scale scaler",
        "size image_size img_size resize input_size",
        "weights pretrained checkpoint",
        "precision dtype amp",
        "clip_norm grad_clip max_grad_norm gradient_clip_val clip_grad_norm",
        "accumulate accumulate_grad_batches gradient_accumulation",
        "copies seeds repeats n_models",
        "seed random_state random_seed",
        "cpus n_jobs num_threads nthread thread_count num_cpus num_workers",
        "gpus num_gpus device",
        "folds n_splits cv k n_folds",
        "fraction test_size",
        "label target y class_column",
        "train path file data folder",
    )
)
"""Groups of keys that have similar meanings in scikit-learn, LightGBM, XGBoost, CatBoost, PyTorch, timm and Quorate."""


def named(name: str, *others: str) -> AliasChoices:
    """Return the `validation_alias` of the field `name`, for which a job file may also use one of `others`."""
    return AliasChoices(name, *others)


def aliases(model: type[BaseModel]) -> dict[str, str]:
    """Return the aliases of the fields of `model`, each with the name of its field."""
    return {
        str(other): name
        for name, field in model.model_fields.items()
        if isinstance(field.validation_alias, AliasChoices)
        for other in field.validation_alias.choices
        if other != name
    }


def field_named(model: type[BaseModel], key: str) -> str:
    """Return the field that `key` is an alias of, or `key` itself."""
    return aliases(model).get(key, key)


def unknown_key_message(key: str, model: type[BaseModel], given: Collection[Any]) -> str:
    """Return the message for a key that `model` does not take; `given` are all keys of the same mapping."""
    others, fields = aliases(model), sorted(model.model_fields)
    if key in others or key in fields:
        field = others.get(key, key)
        twin = next(name for name in given if name != key and field_named(model, str(name)) == field)
        return f"{key!r} and {twin!r} are two names of the same parameter; keep one of them"
    return f"unknown key {key!r}{_suggestion(key, fields, list(others))} (valid keys: {', '.join(fields)})"


def _suggestion(key: str, fields: list[str], others: list[str]) -> str:
    """Suggest the field that means the same as `key` does in other libraries, or else the field with the closest
    name."""
    meant = [field for field in fields if any({key, field} <= names for names in _SYNONYMS)]
    if meant:
        return f"; did you mean {' or '.join(map(repr, meant))}?"
    return did_you_mean(key, fields + others)
