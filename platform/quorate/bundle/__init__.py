"""A trained ensemble in one folder, with nothing that executes on load."""

from quorate.bundle.bundle import (
    KNOWN,
    LOSSES,
    MANIFEST,
    SCHEMA,
    UNSEEN,
    Bundle,
    BundleError,
    Prediction,
    QuorumLost,
    check_code,
    log,
    needs,
    read_manifest,
    verified_manifest,
    write_bundle,
)

__all__ = [
    "KNOWN",
    "LOSSES",
    "MANIFEST",
    "SCHEMA",
    "UNSEEN",
    "Bundle",
    "BundleError",
    "Prediction",
    "QuorumLost",
    "check_code",
    "log",
    "needs",
    "read_manifest",
    "verified_manifest",
    "write_bundle",
]
