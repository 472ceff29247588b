"""Trained ensembles in folders that contain no executable code."""

from quorate.bundle.bundle import Bundle, log
from quorate.bundle.folder import (
    KNOWN,
    LOSSES,
    UNSEEN,
    BundleFile,
    CopiedFile,
    hashes_of,
    verified_manifest,
    write_bundle,
)
from quorate.bundle.manifest import (
    MANIFEST,
    SCHEMA,
    BundleCombination,
    BundleData,
    BundleError,
    BundleInput,
    BundleManifest,
    BundleMember,
    BundleMetrics,
    BundlePruning,
    read_manifest,
)
from quorate.bundle.prediction import Prediction, QuorumLost
from quorate.bundle.requirements import check_code, check_combiner, needs
from quorate.training.device import DeviceChoice

__all__ = [
    "KNOWN",
    "LOSSES",
    "MANIFEST",
    "SCHEMA",
    "UNSEEN",
    "Bundle",
    "BundleCombination",
    "BundleData",
    "BundleError",
    "BundleFile",
    "BundleInput",
    "BundleManifest",
    "BundleMember",
    "BundleMetrics",
    "BundlePruning",
    "CopiedFile",
    "DeviceChoice",
    "Prediction",
    "QuorumLost",
    "check_code",
    "check_combiner",
    "hashes_of",
    "log",
    "needs",
    "read_manifest",
    "verified_manifest",
    "write_bundle",
]
