"""Open the data of a job: rows, folds, and the files that members start from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quorate.data.dataset import Dataset
from quorate.data.decoding import Decoder, ThreadDecoder
from quorate.data.folds import FoldsError
from quorate.data.remote import with_urls
from quorate.data.source import DataError, DataParams, OpenedData, TestSplit, first_rows, hold_out
from quorate.data.splitting import make_folds
from quorate.plan.identity import assets_of, derive_seed
from quorate.plan.tasks import JobData
from quorate.registry import DATASETS
from quorate.spec import Job


def open_data(
    job: Job,
    say: Callable[[str], None] | None = None,
    data: OpenedData | None = None,
    decoder: Decoder | None = None,
) -> JobData:
    """Open the rows, folds and files of a job; `data` replaces the data that the job names.

    Notes and warnings go to `say`. Pictures that have not been decoded before are decoded by `decoder`, by default in
    threads of this process. Raises `SpecError` with the place in the job file.
    """
    spec = job.spec
    try:
        opened = data or first_rows(_opened(spec.data, decoder or ThreadDecoder()), spec.data.limit)
    except DataError as error:
        raise job.error((("data", error.key) if error.key else ("data",), with_urls(str(error)))) from None
    if say is not None:
        for note in opened.notes:
            say(with_urls(note))
    train, train_dev = _set_aside(job, opened)
    try:
        seed = derive_seed(spec.seed, "folds")
        folds = make_folds(train.y, spec.validation, seed, groups=train.groups, time=train.time)
    except FoldsError as error:
        raise job.error((("validation", error.key), str(error))) from None
    if spec.quorum.folds is not None and spec.quorum.folds > len(folds):
        raise job.error(
            (("quorum", "folds"), f"{spec.quorum.folds} folds are required, but there are only {len(folds)}")
        )
    if (best := spec.production.best) is not None and best > len(folds):
        raise job.error(
            (
                ("production", "folds"),
                f"the best {best} fold models are requested, but there are only {len(folds)} folds",
            )
        )
    context = JobData(train, opened.test, folds, assets_of(spec), opened.unlabelled, train_dev=train_dev)
    validated = np.unique(np.concatenate([fold.valid for fold in folds.folds]))
    if (counting := int(context.learnable[validated].sum())) < 2:
        message = f"only {counting} of the {len(validated):,} validation rows count, too few to combine members"
        raise job.error((("validation",), "; ".join([message, *context.warnings])))
    if say is not None:
        for warning in context.warnings:
            say(warning)
    return context


def _opened(params: DataParams, decoder: Decoder) -> OpenedData:
    kind = DATASETS.get(params.kind)
    opened: OpenedData = kind.open(params, decoder) if params.decodes else kind.open(params)
    return opened


def _set_aside(job: Job, opened: OpenedData) -> tuple[Dataset, Dataset | None]:
    """Split the training rows into those for training and validation and those of `validation.train_dev`."""
    fraction = job.spec.validation.train_dev
    if not fraction:
        return opened.train, None
    if opened.test is None:
        message = "train_dev requires a separate test set, but the data have none; add a test set, or remove train_dev"
        raise job.error((("validation", "train_dev"), message))
    try:
        return hold_out(
            opened.train, TestSplit(fraction=fraction, seed=derive_seed(job.spec.seed, "train_dev") % 2**32)
        )
    except DataError as error:
        raise job.error((("validation", "train_dev"), str(error))) from None
