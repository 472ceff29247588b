"""What a user's own kind takes from a job file, read from a function's signature or checked on a class."""

from __future__ import annotations

import inspect
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import create_model

from quorate.registry import REGISTRIES, KindParams
from quorate.registry.own_code import OwnCodeError, said

Function = Callable[..., Any]


class SignatureParams(KindParams):
    """Parameters made of a function's signature; another process makes their class anew from the function."""

    registry: ClassVar[str]
    """What the kind is, as its registry says."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (self.registry, self.kind), self.__getstate__()


def _blank(what: str, kind: str) -> KindParams:
    model: type[KindParams] = REGISTRIES[what].get(kind).Params
    return model.__new__(model)


def params_of(
    function: Function, *, what: str, kind: str, base: type[KindParams] = KindParams, given: Iterable[str] = ()
) -> type[KindParams]:
    """A model with the parameters of `function` but for those that are `given` by name; `what` the kind is.

    A parameter without an annotation takes any value. Raises `OwnCodeError` for parameters that a job
    file could not give.
    """
    fields: dict[str, Any] = {"kind": (str, kind), "registry": (ClassVar[str], what)}
    for name, parameter in _parameters(function).items():
        if name in given:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise OwnCodeError(f"the parameter {parameter} cannot be given by name; name each parameter")
        if name in base.model_fields or name == "registry" or name.startswith("_"):
            raise OwnCodeError(f"the parameter {name!r} has a name that is taken; rename it")
        annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
        fields[name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a parameter may be called like a method of pydantic's
            bases: Any = (SignatureParams, base)
            module, name = getattr(function, "__module__", __name__), getattr(function, "__name__", "own")
            make: Any = create_model  # the bases are known when it runs only
            model: type[KindParams] = make(f"{name}_params", __base__=bases, __module__=module, **fields)
    except Exception as error:  # pydantic has many for annotations that it cannot read
        raise OwnCodeError(f"its parameters cannot be read: {said(error)}") from error
    return model


def own_values(params: KindParams, function: Function, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `function`: what it takes of the `given`, and its own parameters from the job file."""
    taken = _parameters(function)
    return {name: given[name] if name in given else getattr(params, name) for name in taken}


def require_parameters(function: Function, names: Iterable[str], *, form: str) -> None:
    """Raise `OwnCodeError` where `function` does not take `names`; `form` shows how it should look."""
    missing = [name for name in names if name not in _parameters(function)]
    if missing:
        raise OwnCodeError(f"it does not take {' and '.join(missing)}; it should look like {form}")


def require_class(
    found: type, *, base: type[KindParams], names: Iterable[str], kind: str, ignored: type = object
) -> None:
    """Raise `OwnCodeError` unless the class has `Params` below `base` for this `kind`, and all `names`.

    What it has from `ignored` alone does not count.
    """
    missing = [name for name in names if getattr(found, name, None) in (None, getattr(ignored, name, None))]
    params = getattr(found, "Params", None)
    where = f"{base.__module__}.{base.__name__}"
    if not (isinstance(params, type) and issubclass(params, base)):
        missing.insert(0, f"Params (a subclass of {where})")
    if missing:
        raise OwnCodeError(f"the class {found.__name__} lacks {', '.join(missing)}")
    assert isinstance(params, type) and issubclass(params, KindParams)
    annotation = params.model_fields["kind"].annotation
    if annotation is not str and not (typing.get_origin(annotation) is Literal and kind in typing.get_args(annotation)):
        raise OwnCodeError(f"{params.__name__} does not allow the kind {kind!r}; leave `kind` out of it")


def _parameters(function: Function) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function, eval_str=True).parameters
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        raise OwnCodeError(f"its signature cannot be read: {said(error)}") from error
