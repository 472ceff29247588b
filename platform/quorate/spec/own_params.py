"""Derive the parameters of a user's own kind from a function's signature, or check those of a class."""

from __future__ import annotations

import inspect
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import create_model

from quorate.registry import REGISTRIES, KindParams
from quorate.registry.own_code import OwnCodeError, describe_error

Function = Callable[..., Any]


class SignatureParams(KindParams):
    """Parameters derived from a function's signature; a process that unpickles them derives their class again."""

    registry: ClassVar[str]
    """The `what` of the kind's registry, such as `member kind`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (self.registry, self.kind), self.__getstate__()


def _blank(what: str, kind: str) -> KindParams:
    model: type[KindParams] = REGISTRIES[what].get(kind).Params
    return model.__new__(model)


def params_of(
    function: Function, *, what: str, kind: str, base: type[KindParams] = KindParams, given: Iterable[str] = ()
) -> type[KindParams]:
    """Return a model with the parameters of `function` except those that Quorate passes itself (`given`).

    `what` is the name of the kind's registry. A parameter without an annotation accepts any value. Raises
    `OwnCodeError` for parameters that a job file cannot set.
    """
    fields: dict[str, Any] = {"kind": (str, kind), "registry": (ClassVar[str], what)}
    for name, parameter in _parameters(function).items():
        if name in given:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise OwnCodeError(f"the parameter {parameter} cannot be passed by name; give each parameter a name")
        if name in base.model_fields or name == "registry" or name.startswith("_") or name in _methods(base):
            raise OwnCodeError(f"the parameter name {name!r} is reserved; rename it")
        annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
        fields[name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a parameter may have the name of a method of pydantic
            bases: Any = (SignatureParams, base)
            module, name = getattr(function, "__module__", __name__), getattr(function, "__name__", "own")
            make: Any = create_model  # Any for mypy: the bases are known only at run time
            model: type[KindParams] = make(f"{name}_params", __base__=bases, __module__=module, **fields)
    except Exception as error:  # pydantic raises many types for annotations that it cannot read
        raise OwnCodeError(f"its parameters cannot be read: {describe_error(error)}") from error
    return model


def own_values(params: KindParams, function: Function, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `function`: the `given` ones that it takes, and its parameters from the job file."""
    taken = _parameters(function)
    return {name: given[name] if name in given else getattr(params, name) for name in taken}


def require_parameters(function: Function, names: Iterable[str], *, form: str) -> None:
    """Raise `OwnCodeError` if `function` does not take all `names`; `form` is an example of a valid signature."""
    missing = [name for name in names if name not in _parameters(function)]
    if missing:
        raise OwnCodeError(f"it does not take {' and '.join(missing)}; it should look like {form}")


def require_class(
    found: type, *, base: type[KindParams], names: Iterable[str], kind: str, ignored: type = object
) -> None:
    """Raise `OwnCodeError` unless the class has all `names`, and `Params` derived from `base` that allow `kind`.

    Attributes that it only inherits from `ignored` do not count.
    """
    missing = [name for name in names if not defines(found, name, ignored=ignored)]
    params = getattr(found, "Params", None)
    where = f"{base.__module__}.{base.__name__}"
    if not (isinstance(params, type) and issubclass(params, base)):
        missing.insert(0, f"Params (a subclass of {where})")
    if missing:
        raise OwnCodeError(f"the class {found.__name__} lacks {', '.join(missing)}")
    assert isinstance(params, type) and issubclass(params, KindParams)
    annotation = params.model_fields["kind"].annotation
    if annotation is not str and not (typing.get_origin(annotation) is Literal and kind in typing.get_args(annotation)):
        raise OwnCodeError(f"{params.__name__} does not allow the kind {kind!r}; remove the field `kind` from it")


def defines(found: type, name: str, *, ignored: type) -> bool:
    """Whether the class has this attribute, and does not only inherit it from `ignored`.

    The lookup is static, because a class method is another object for each class.
    """
    return inspect.getattr_static(found, name, None) not in (None, inspect.getattr_static(ignored, name, None))


def _methods(base: type[KindParams]) -> set[str]:
    """The names that `KindParams` and its subclasses define. Parameters cannot have these names, but they can have
    those of pydantic's methods."""
    return {name for each in base.__mro__ if issubclass(each, KindParams) for name in vars(each)}


def _parameters(function: Function) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function, eval_str=True).parameters
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        raise OwnCodeError(f"its signature cannot be read: {describe_error(error)}") from error
