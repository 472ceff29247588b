"""Map names in a job file to kinds: built-in kinds, those of installed packages, and users' own code."""

from quorate.registry.kinds import (
    ARCHS,
    AUGMENTATIONS,
    CALIBRATIONS,
    COMBINERS,
    DATASETS,
    INITIALIZATIONS,
    MEMBERS,
    OPTIMIZERS,
    PRETRAININGS,
    REGISTRIES,
    SCHEDULES,
    InvalidParams,
    KindParams,
    Spec,
    kind_of,
    own_reference,
)
from quorate.registry.registry import Registry, UnknownKind, did_you_mean

__all__ = [
    "ARCHS",
    "AUGMENTATIONS",
    "CALIBRATIONS",
    "COMBINERS",
    "DATASETS",
    "INITIALIZATIONS",
    "MEMBERS",
    "OPTIMIZERS",
    "PRETRAININGS",
    "REGISTRIES",
    "SCHEDULES",
    "InvalidParams",
    "KindParams",
    "Registry",
    "Spec",
    "UnknownKind",
    "did_you_mean",
    "kind_of",
    "own_reference",
]
