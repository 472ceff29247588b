"""Read data sets of torchvision by name; torchvision downloads those that are missing."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, ValidationInfo, field_validator

from quorate.data.dataset import ArrayImages, Dataset
from quorate.data.labels import LabelCoding
from quorate.data.source import DataError, DataParams, OpenedData
from quorate.registry import DATASETS, did_you_mean

_FLAG = ({"train": True}, {"train": False})
_SPLIT = ({"split": "train"}, {"split": "test"})
_EMNIST = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")

SETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "CIFAR10": _FLAG,
    "CIFAR100": _FLAG,
    **{f"EMNIST-{part}": ({"split": part, "train": True}, {"split": part, "train": False}) for part in _EMNIST},
    "FashionMNIST": _FLAG,
    "KMNIST": _FLAG,
    "MNIST": _FLAG,
    "QMNIST": _FLAG,
    "STL10": _SPLIT,
    "SVHN": _SPLIT,
    "USPS": _FLAG,
}
"""For each data set, the arguments of its torchvision class for the training rows and for the test rows.

Only data sets with images of one size, integer class labels and their own test set are included.
"""


def _folder(value: str, info: ValidationInfo) -> str:
    """Return the folder relative to that of the job file if it exists there, otherwise relative to the current
    folder."""
    path = Path(value).expanduser()
    local: Path = (info.context or {}).get("base", Path()) / path
    return str((local if local.is_dir() else path).absolute())


class TorchvisionParams(DataParams):
    root: Annotated[str, AfterValidator(_folder)] = "~/.cache/quorate/torchvision"
    """The folder where torchvision keeps its data sets."""
    download: bool = True
    """Whether torchvision may download data sets that are not in `root`."""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        name = kind.removeprefix("torchvision/")
        if name not in SETS:
            near = did_you_mean(name, list(SETS))
            raise ValueError(f"unknown data set {name!r}{near} (choose from {', '.join(SETS)})")
        return kind


@DATASETS.register("torchvision/")
class TorchvisionData:
    """Labelled images with torchvision's split into training and test sets."""

    Params = TorchvisionParams

    @staticmethod
    def names() -> list[str]:
        return list(SETS)

    @staticmethod
    def open(params: TorchvisionParams) -> OpenedData:
        name = params.kind.removeprefix("torchvision/")
        train, test = (_read(name, options, params) for options in SETS[name])
        known = np.unique(train[1])
        names = tuple(train[2].get(label, str(label)) for label in known.tolist())
        if strange := set(test[1].tolist()) - set(known.tolist()):
            raise DataError(f"{name}: the test labels {sorted(strange)[:5]} do not occur in the training rows")
        in_order = np.array_equal(known, np.arange(len(known)))
        coding: LabelCoding = "positions" if in_order else "names"
        both = [
            Dataset(ArrayImages(x), np.searchsorted(known, y), names, labels_are=coding) for x, y, _ in (train, test)
        ]
        return OpenedData(train=both[0], test=both[1])


def _read(
    name: str, options: dict[str, Any], params: TorchvisionParams
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Return pixels uint8 (N, H, W, C), labels (N,), and the names of the labels that have one."""
    from torchvision import datasets  # importing torch takes seconds

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            found = getattr(datasets, name.split("-")[0])(params.root, download=params.download, **options)
    except Exception as error:  # noqa: BLE001 - many libraries raise: network, archives, files
        raise _problem(name, params, error) from None
    labels = np.empty(len(found), np.int64)
    pixels = np.empty((0, 0, 0, 0), np.uint8)
    for i in range(len(found)):
        picture, labels[i] = found[i]
        image = np.asarray(picture, dtype=np.uint8)
        if i == 0:
            pixels = np.empty((len(found), *image.shape[:2], 1 if image.ndim == 2 else image.shape[2]), np.uint8)
        pixels[i] = image.reshape(pixels.shape[1:])
    return pixels, labels, dict(enumerate(getattr(found, "classes", ())))


def _problem(name: str, params: TorchvisionParams, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [repr(error)])[0]
    if not params.download:
        return DataError(
            f"{name} cannot be read from {params.root}: {reason}; set download: true, or set root to the folder "
            "of torchvision's data sets",
            "root",
        )
    return DataError(
        f"{name} is not in {params.root} and cannot be downloaded: {reason}; check the network, or copy the folder "
        "from a machine where torchvision has downloaded it",
        "kind",
    )
