"""Inspect images and labels in an `.npz` archive."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from quorate.autoconfig.fingerprint import Fingerprint, Hashes, ImageFacts, Range, repeats_of
from quorate.autoconfig.mirror_test import keeps_classes_mirrored
from quorate.autoconfig.source import DataLocation
from quorate.data.dataset import Pixels
from quorate.data.labels import encode_labels
from quorate.data.source import DataError
from quorate.data.sources.npz import Header, objects_error, read_headers, read_images, read_labels
from quorate.errors import UserError

MOST_ROWS = 300_000
"""Maximum number of images to hash, to limit the time of `quorate init`. An assumption, not a measurement."""

_LABELS = ("labels", "train", "y")
"""Usual names of label arrays, most reliable first."""


def inspect_archive(source: DataLocation) -> Fingerprint:
    """Rows, classes, sizes and repeated images; raises `UserError` if the arrays are not images with labels."""
    images, labels = _find(source.train)
    pixels, given = read_images(source.train, images), read_labels(source.train, labels)
    names = _class_names(source.train.parent / "classes.txt", given)
    y, classes = encode_labels(given, names)
    notes, partly = source.notes, []
    unused = [array.name for array in read_headers(source.train) if array.name not in (images, labels)]
    if unused:
        notes += (f"{source.train} contains other arrays, which are not used: {', '.join(unused)}",)
    if len(pixels) > MOST_ROWS:
        partly.append(f"repeated rows: only the first {MOST_ROWS:,} of {len(pixels):,} rows were compared")
    test = read_images(source.test, images) if source.test else None
    known = _hashes(pixels)
    height, width, channels = pixels.shape[1:]
    sample = pixels[:: max(1, len(pixels) // 1000)].astype(int)
    facts = ImageFacts(
        Range(height, height, height),
        Range(width, width, width),
        Range(*(min(height, width),) * 3),
        channels=channels,
        grey=float((np.ptp(sample, axis=3).max(axis=(1, 2)) <= 3).mean()),
        arrays=(images, labels),
        class_file=names is not None,
        keeps_mirrored=keeps_classes_mirrored(pixels, y),
    )
    return Fingerprint(
        source,
        dict(zip(classes, np.bincount(y, minlength=len(classes)).tolist(), strict=True)),
        None if test is None else len(test),
        sum(path.stat().st_size for path in (source.train, source.test) if path),
        repeats_of(known, y[: len(known)], None if test is None else _hashes(test)),
        facts,
        tuple(partly),
        notes,
    )


def _find(path: Path) -> tuple[str, str]:
    """Names of the arrays with images and with their labels."""
    arrays = read_headers(path)
    listed = "; ".join(map(str, arrays)) or "nothing"
    images = _best([a for a in arrays if a.dtype == np.uint8 and len(a.shape) in (3, 4)], ("images", "train", "x"))
    if images is None:
        floats = [a for a in arrays if a.dtype.kind in "fiu" and len(a.shape) in (3, 4)]
        if floats:
            x = floats[0].name
            raise UserError(
                f"{path}: {x} is {floats[0].dtype}, but images must be uint8 (0..255); scale and convert them:\n"
                f"  {x} = (255.0 * ({x} - {x}.min()) / ({x}.max() - {x}.min())).round().astype('uint8')"
            )
        if [a for a in arrays if len(a.shape) == 2]:
            raise UserError(
                f"{path} contains no images ({listed}); save tabular data as CSV:\n"
                "  pandas.DataFrame(x).add_prefix('x').assign(label=y).to_csv('data.csv', index=False)"
            )
        raise UserError(f"{path} contains no uint8 array of images, (N, H, W) or (N, H, W, C); it contains {listed}")
    rows = [a for a in arrays if a.shape == images.shape[:1]]
    labels = _best([a for a in rows if a.dtype.kind in "iubUS"], _LABELS)
    if labels is None:
        if floats := [a for a in rows if a.dtype.kind == "f"]:
            given = _best(floats, _LABELS)
            assert given is not None, "there is one"
            try:
                read_labels(path, given.name)
            except DataError as error:
                raise UserError(
                    f"{error}; Quorate is for classification: convert the labels to classes (integers or text)"
                ) from None
            return images.name, given.name
        if objects := [a.name for a in rows if a.dtype.hasobject]:
            raise objects_error(path, objects[0])
        raise UserError(
            f"{path}: no array has a label for each of the {images.shape[0]:,} images ({listed}); add one:\n"
            f"  numpy.savez('{path.name}', images={images.name}, labels=labels)"
        )
    return images.name, labels.name


def _best(arrays: list[Header], words: tuple[str, ...]) -> Header | None:
    """The array whose name equals or contains one of `words`, tried in order; the first array if none matches."""
    for word in words:
        for match in (lambda name, word=word: name == word, lambda name, word=word: word in name.lower()):
            if found := [array for array in arrays if match(array.name)]:
                return found[0]
    return arrays[0] if arrays else None


def _class_names(path: Path, labels: np.ndarray) -> list[str] | None:
    """The class names in the file `path` if they cover all integer labels; otherwise None."""
    if labels.dtype.kind not in "iu" or not path.is_file() or not len(labels):
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return None
    return names if int(labels.min()) >= 0 and int(labels.max()) < len(names) else None


def _hashes(pixels: Pixels) -> Hashes:
    digests = b"".join(hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels[:MOST_ROWS])
    return np.frombuffer(digests, np.uint64)
