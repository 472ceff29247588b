"""The interface of a member: fit on one fold, predict probabilities, save, load."""

from __future__ import annotations

import importlib
import importlib.util
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Dataset, Inputs
from quorate.data.signature import Signature
from quorate.errors import UserError
from quorate.registry import MEMBERS
from quorate.registry.own_code import check_allowed
from quorate.spec import MemberParams
from quorate.training.context import Device, Hardware, MemoryUse, Numerics, TaskContext
from quorate.training.procedures import Procedure

Proba = NDArray[np.float32]

PROCESS_MEMORY = 440 << 20
"""Bytes that a worker adds to its node before it trains, measured with Ray 2.60 and torch 2.15 after the import of all
kinds: its own pages (RssAnon of proc(5)). The pages of libraries and of the placed rows are shared by the workers."""
_COPIES = 4.0
"""Copies of the rows as float32 that a fit keeps: the features, and what the estimator makes of them. An assumption,
not a measurement."""

HEADER = "member.json"
"""The file in a member's folder that names its kind."""


class Member(Protocol):
    """One classifier of one fold.

    After `fit`, `history` holds a dictionary of metrics per epoch. Methods and attributes with a default are optional:
    a class that does not inherit from `Member` gets these defaults when it is registered as a kind.
    """

    Params: ClassVar[type[MemberParams]]
    version: ClassVar[int]
    """Increased by hand when the same seed and data no longer give the same results."""
    weighs: ClassVar[bool] = True
    """Whether training uses row weights."""
    resamples: ClassVar[bool] = True
    """Whether training rows may occur more than once; false for an inner cross-validation, which would train and
    validate on the same row."""
    accelerated: ClassVar[bool] = False
    """Whether `gpus: auto` gives a part of an accelerator to this kind."""
    packs: ClassVar[bool] = False
    """Whether `fit_many` trains several members of this kind in one model."""
    seeded: ClassVar[bool] = True
    """Whether the seed changes the result; otherwise copies are equal."""
    procedures: ClassVar[tuple[type[Procedure], ...]] = ()
    """The procedures that `follow` supports."""
    history: list[dict[str, float]]
    finished: bool = True
    """False if the task context stopped the training early."""

    def __init__(self, params: Any, *, signature: Signature, n_classes: int) -> None: ...

    @classmethod
    def numerics(cls, params: Any, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        """Return the numerical settings that the plan fixes for this member on that hardware.

        Raises `ValueError` if the kind, with these parameters, cannot learn from such rows.
        """

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        """Estimate the seconds of one fit on one core, for rows that `numerics` accepts."""

    def fit(self, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        """Learn from `train`; `valid` may be used to decide when to stop."""

    @classmethod
    def fit_many(cls, fits: Sequence[PackedFit]) -> Iterator[tuple[int, Exception | None]]:
        """Fit several members in one model; yield the position of each when it has ended, and its error if it failed.

        Each member reports to its own context and can be told to stop on its own; the others go on. It is as it would
        be after `fit`. Its bits depend on `Numerics.pack`, the planned number of fits, and not on the number of those
        that are given: some may have ended in an earlier session. An exception of this function fails all members that
        have not ended.
        """
        problem = f"{cls.__name__} does not train several members in one model"
        raise NotImplementedError(problem)

    def follow(self, procedure: Any, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        """Like `fit`, but by one of `procedures`."""
        problem = f"{type(self).__name__} does not support the procedure {type(procedure).__name__}"
        raise NotImplementedError(problem)

    def predict_proba(self, x: Inputs) -> Proba:
        """Return float32 (N, K), in the order of the class names, including classes that are missing from the fold."""

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs, and nothing that is executed."""

    @classmethod
    def load(cls, folder: Path) -> Self: ...

    def to(self, device: Device) -> None:
        """Predict on this device from now on. A kind that computes on CPUs only stays there."""

    @classmethod
    def memory_use(
        cls, params: Any, *, signature: Signature, rows: int, n_classes: int, numerics: Numerics
    ) -> MemoryUse:
        """Estimate the memory of one fit on this number of rows, for `memory: auto` and `gpus: auto`."""
        return MemoryUse(PROCESS_MEMORY + int(_COPIES * 4 * rows * signature.size))

    @classmethod
    def halved(cls, params: Any, numerics: Numerics) -> tuple[Any, Numerics] | None:
        """The parameters and numerics with half of the batch and twice the accumulation; None if that is impossible."""
        return None

    @classmethod
    def pretraining_cost(cls, params: Any, *, signature: Signature, rows: int) -> float:
        """Estimated seconds, on one core, of the pretraining on this number of unlabelled rows."""
        return 0.0

    @classmethod
    def views(cls, params: Any) -> tuple[str, ...]:
        """Names of the other members that one fit with these parameters produces, such as averages of the weights."""
        return ()

    def view(self, name: str) -> Member | None:
        """One of `views`, after `fit`; None if the training was stopped before it existed."""
        return None


OPTIONAL = (
    "weighs",
    "resamples",
    "accelerated",
    "packs",
    "seeded",
    "procedures",
    "finished",
    "fit_many",
    "follow",
    "halved",
    "to",
    "memory_use",
    "pretraining_cost",
    "views",
    "view",
)
"""Names of the optional methods and attributes of `Member`."""


@dataclass(frozen=True)
class PackedFit:
    """One of several fits in one model: an unfitted member, its rows, and its context."""

    member: Member
    train: Dataset
    valid: Dataset
    context: TaskContext


def write_header(folder: Path, *, params: MemberParams, **rest: Any) -> None:
    """Write the member's kind, parameters and the other data that `load` needs as JSON."""
    content = {"kind": params.kind, "params": params.model_dump(mode="json"), **rest}
    (folder / HEADER).write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_header(folder: Path) -> dict[str, Any]:
    header: dict[str, Any] = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    return header


_LOADERS = {"learner": "quorate.members.saved_learner", "onnx": "quorate.members.saved_network"}
"""Modules that load members of users' own kinds without the users' code, by the `loader` in the member's header."""


def load_member(folder: Path, *, device: Device = "cpu") -> Member:
    """Load the member that `save` wrote into `folder`, or an equivalent one that can only predict, onto the device.

    Raises `ValueError` for an unknown kind, and `UserError` if a package that the member requires is not available.
    """
    header = read_header(folder)
    loader = header.get("loader")
    if loader is not None:
        if loader not in _LOADERS:
            raise ValueError(f"unknown loader {loader!r} (this version has {', '.join(_LOADERS)})")
        predictor: Member = importlib.import_module(_LOADERS[loader]).load(folder)
        predictor.to(device)
        return predictor
    for reference in references_in(header):
        check_allowed(reference)
    package = header.get("requires")
    # only the part before the first dot: find_spec imports the parent packages of a dotted name
    if package is not None and importlib.util.find_spec(str(package).partition(".")[0]) is None:
        raise UserError(f"it needs the package {package}; install it, or put its folder on PYTHONPATH")
    member: Member = MEMBERS.get(header["kind"]).load(folder)
    member.to(device)
    return member


def references_in(header: Mapping[str, Any]) -> list[str]:
    """Return the users' own kinds, as `module:name`, that loading a member with this header imports."""
    return [] if header.get("loader") is not None else sorted(set(_own_kinds(header)))


def _own_kinds(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        kind = value.get("kind")
        if isinstance(kind, str) and ":" in kind:
            yield kind
        for inner in value.values():
            yield from _own_kinds(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _own_kinds(inner)


def saved_files(member: Member) -> Iterator[tuple[str, bytes]]:
    """Yield the files that `save` writes, one at a time: the path relative to the member's folder, and the content."""
    with tempfile.TemporaryDirectory(prefix="quorate-") as name:
        folder = Path(name)
        member.save(folder)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(folder)), path.read_bytes()


def files_of(member: Member) -> dict[str, bytes]:
    """Return the files that `save` writes, by path relative to the member's folder."""
    return dict(saved_files(member))


def member_of(files: Mapping[str, bytes], *, device: Device = "cpu") -> Member:
    """Load the member with these files onto the device; raises the same errors as `load_member`."""
    with tempfile.TemporaryDirectory(prefix="quorate-") as name:
        for path, content in files.items():
            (Path(name) / path).write_bytes(content)
        return load_member(Path(name), device=device)
