"""A dataset of forty little images, one of mixed columns, and plans on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quorate.data.dataset import ArrayImages, Dataset
from quorate.data.folds import Fold, Folds
from quorate.data.signature import Column, TableSignature
from quorate.data.table import Table
from quorate.plan.groups import Node, NodeGroup, Places, group_nodes
from quorate.plan.planner import make_plan
from quorate.plan.tasks import JobData, Plan, Resources
from quorate.spec import JobSpec
from quorate.spec import file as jobfile
from quorate.spec import job as spec
from quorate.training.context import Hardware


@dataclass(frozen=True)
class Nodes:
    """Nodes that were probed; they hold every unit whose labels they have."""

    nodes: tuple[Node, ...]

    def groups_for(self, resources: Resources, *, present: bool = False) -> Sequence[NodeGroup]:
        return group_nodes(node for node in self.nodes if node.has(resources.labels) and resources.gpus <= node.gpus)


def alone(hardware: Hardware) -> Nodes:
    """A cluster of one node."""
    return Nodes((Node("here", hardware, (), hardware.cores, hardware.gpus),))


LAPTOP = Hardware(cores=2, gpus=0, fast_bfloat16=False, cpu="a CPU")


def tiny_data(*, rows: int = 40, classes: int = 3, shape: tuple[int, int, int] = (8, 8, 1), seed: int = 0) -> Dataset:
    """Noise with a bright row of pixels that tells the class; all classes in turn."""
    y = np.arange(rows) % classes
    pixels = np.random.default_rng(seed).integers(0, 120, (rows, *shape)).astype(np.uint8)
    pixels[np.arange(rows), y * 2] += 120
    return Dataset(ArrayImages(pixels), y.astype(np.int64), tuple(f"class {i}" for i in range(classes)))


TINY_COLUMNS = TableSignature(
    (
        Column("length", "numeric"),
        Column("colour", "categorical"),
        Column("noise", "numeric"),
        Column("ripe", "boolean"),
        Column("place", "categorical"),
    )
)


def tiny_table(*, rows: int = 60, classes: int = 3, seed: int = 0) -> Dataset:
    """Columns of every kind, a tenth of each missing; length and colour tell the class, all classes in turn."""
    random = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    frame = pd.DataFrame(
        {
            "length": y + random.normal(0, 0.4, rows),
            "colour": np.array(["red", "green", "blue"], dtype=object)[np.where(random.random(rows) < 0.8, y, 0) % 3],
            "noise": random.lognormal(size=rows),
            "ripe": (y == 0).astype(float),
            "place": random.choice(np.array(["here", "there"], dtype=object), rows),
        }
    )
    frame = frame.mask(random.random(frame.shape) < 0.1)
    return Dataset(Table.of(frame, TINY_COLUMNS), y.astype(np.int64), tuple(f"class {i}" for i in range(classes)))


def two_folds(rows: int = 40) -> Folds:
    """Blocks of three rows in turn."""
    first = (np.arange(rows) // 3) % 2 == 0
    parts = (np.flatnonzero(first), np.flatnonzero(~first))
    return Folds((Fold(parts[1], parts[0]), Fold(parts[0], parts[1])), "by hand")


def spec_of(text: str, *, base: Path = Path()) -> JobSpec:
    return spec.validate(jobfile.parse(text, name="job.yaml"), base=base).spec


def plan_on(places: Places, members: str, data: Dataset | None = None) -> Plan:
    """The plan of `members` for these nodes."""
    rows = data if data is not None else tiny_data()
    job = spec_of(f"seed: 0\ndata: digits\nmembers: {members}\n")
    return make_plan(job, JobData(rows, None, two_folds(len(rows))), places)


def plan_of(
    members: str,
    *,
    data: Dataset | None = None,
    test: Dataset | None = None,
    folds: Folds | None = None,
    hardware: Hardware = LAPTOP,
    seed: int = 0,
    base: Path = Path(),
) -> Plan:
    """The plan of `members`, a mapping in YAML's flow style."""
    rows = data if data is not None else tiny_data()
    job = spec_of(f"seed: {seed}\ndata: digits\nmembers: {members}\n", base=base)
    return make_plan(job, JobData(rows, test, folds if folds is not None else two_folds(len(rows))), alone(hardware))
