"""Users' own members: a function that makes a scikit-learn estimator, or a class that implements `Member`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from quorate.data.signature import Signature
from quorate.members.base import HEADER, OPTIONAL, Member, read_header, write_header
from quorate.members.learner import Learner, LearnerParams
from quorate.members.saved_learner import LOADER, TRIAL_CLASSES, check_savable, trial_labels, untrusted_types
from quorate.registry.own_code import OwnCodeError, describe_error, package_of
from quorate.spec import MemberParams
from quorate.spec.own_params import defines, own_values, params_of, require_class
from quorate.training.context import Hardware, Numerics

_FORM = "build(*, neighbours: int = 5) -> an unfitted scikit-learn classifier"
_GIVEN = ("seed", "random_state", "n_classes")
_METHODS = ("fit", "predict_proba", "save", "load")
_LEARNER_LOADS = ("predict_proba", "load", "model_proba", "read_model", "write_model", "check", "_proba")
"""Methods that a kind must not override if Quorate is to load its members without the user's code."""


class OwnLearner(Learner):
    """A scikit-learn classifier that a user's function makes; its features are those of every `Learner`.

    The function may have parameters named `seed` (or `random_state`) and `n_classes`; its other parameters are set in
    the job file.
    """

    version: ClassVar[int] = 1
    weighs: ClassVar[bool] = False
    function: ClassVar[Callable[..., Any]]
    kind: ClassVar[str]

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        return self._made(self.params, seed=seed, n_classes=self.n_classes)

    @classmethod
    def _made(cls, params: Any, *, seed: int, n_classes: int) -> Any:
        given = {"seed": seed, "random_state": seed, "n_classes": n_classes}
        try:
            made = cls.function(**own_values(params, cls.function, given))
        except Exception as error:  # a user's code may raise anything
            raise OwnCodeError(f"{cls.kind} raises {describe_error(error)}") from error
        if not isinstance(made, BaseEstimator):
            raise OwnCodeError(f"{cls.kind} returned a {type(made).__name__}, not an unfitted scikit-learn classifier")
        return made


def adopt_member(kind: str, found: Any) -> type[Member]:
    """Make a member kind from a function, or from a class that has `Params` and may be a subclass of `Learner`."""
    if not isinstance(found, type):
        return _of_function(kind, found)
    names = ("estimator",) if issubclass(found, Learner) else _METHODS
    require_class(found, base=MemberParams, names=names, kind=kind, ignored=Learner if "estimator" in names else Member)
    return _of_class(kind, found)


def _of_function(kind: str, function: Any) -> type[Member]:
    if not callable(function):
        raise OwnCodeError(f"it is a {type(function).__name__}; it must be a class or a function: {_FORM}")
    params = params_of(function, what="member kind", kind=kind, base=LearnerParams, given=_GIVEN)
    options = {
        name: getattr(function, name)
        for name in ("version", "encoding", "trusted", "weighs", "resamples")
        if hasattr(function, name)
    }
    content = {"Params": params, "function": staticmethod(function), "kind": kind, "__module__": function.__module__}
    learner: Any = type("OwnLearner", (OwnLearner,), {**content, **options, "__doc__": function.__doc__})
    return _of_class(kind, learner)


def _of_class(kind: str, found: type) -> type[Member]:
    """Complete the class: add a version, a cost and numerics if it lacks them, and save what its bundle requires."""
    reachable = package_of(found.__module__)
    defaults: dict[str, Any] = {"version": 1, "cost": classmethod(_cost), "numerics": classmethod(_numerics)}
    missing = {name: value for name, value in defaults.items() if not _has(found, name)}
    missing |= {name: vars(Member)[name] for name in OPTIONAL if not hasattr(found, name)}
    own: Any = found
    if issubclass(found, Learner) and found.write_model is Learner.write_model:
        missing["numerics"] = classmethod(_savable_numerics(found, kind))

    def save(self: Any, folder: Path) -> None:
        own.save(self, folder)
        if not (folder / HEADER).is_file():
            write_header(folder, params=self.params)
        header = read_header(folder)
        header |= {"kind": kind, **_loading_requirements(found, folder, package=reachable, kind=kind)}
        (folder / HEADER).write_text(json.dumps(header, indent=1), encoding="utf-8")

    made: type[Member] = type(
        found.__name__, (found,), {**missing, "save": save, "__module__": found.__module__, "__doc__": found.__doc__}
    )
    return made


def _has(found: type, name: str) -> bool:
    """Return whether the class implements this itself, and does not only inherit it from the protocol."""
    return defines(found, name, ignored=Member) and not (
        name == "cost" and issubclass(found, Learner) and found.cost.__func__ is Learner.cost.__func__  # type: ignore[attr-defined]
    )


def _loading_requirements(found: type, folder: Path, *, package: str, kind: str) -> dict[str, str]:
    """Return whether a bundle can load the saved member without the user's code, or which package it requires, and
    why."""
    needed = {"requires": package}
    if not issubclass(found, Learner):
        return needed | {"reason": "its class saves and loads itself"}
    if any(getattr(found, name) is not getattr(Learner, name) and not _same(found, name) for name in _LEARNER_LOADS):
        return needed | {"reason": "its class has its own methods to load or predict"}
    unknown = untrusted_types(folder)
    if not unknown:
        return {"loader": LOADER}
    if beyond := sorted(set(unknown) - set(found.trusted)):
        raise OwnCodeError(
            f"the model of {kind} holds {', '.join(beyond)}, which a bundle would not load; list the classes to trust "
            f"in the attribute `trusted` of {kind}, or build the model from scikit-learn's own parts"
        )
    return needed | {"reason": f"its model holds {', '.join(unknown)}"}


def _same(found: type, name: str) -> bool:
    """Return whether the class inherits this class method from `Learner`; class methods are new objects at each
    access."""
    return getattr(getattr(found, name), "__func__", found) is getattr(getattr(Learner, name), "__func__", Learner)


def _cost(cls: Any, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
    """A guess for unknown costs: a microsecond for each value of each row and class."""
    return float(1e-6 * rows * signature.size * n_classes)


def _savable_numerics(found: type[Learner], kind: str) -> Callable[..., Numerics]:
    """Make a `numerics` that also rejects a classifier that could not be saved after training.

    It fits a trial once for all members and folds with the same parameters.
    """
    passed: set[tuple[str, Signature]] = set()

    def numerics(cls: Any, params: Any, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        own: Any = found
        resolved: Numerics = own.numerics.__func__(cls, params, signature=signature, rows=rows, hardware=hardware)
        recipe = params.model_dump_json(), signature
        if recipe in passed:
            return resolved
        member = cls(params, signature=signature, n_classes=TRIAL_CLASSES)
        try:
            made = member.estimator(seed=0, y=trial_labels())
        except OwnCodeError:
            raise
        except Exception:  # noqa: BLE001  (a user's class may need what only `fit` gives it, such as its features)
            return resolved
        if isinstance(made, BaseEstimator):
            check_savable(made, name=kind, trusted=found.trusted)
        passed.add(recipe)
        return resolved

    return numerics


def _numerics(cls: Any, params: MemberParams, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
    return Numerics(threads=max(1, int(params.cpus)), device="cuda" if params.accelerators > 0 else "cpu")
