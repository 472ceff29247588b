"""Check the store of finished work."""

from __future__ import annotations

from quorate.doctor.check import CheckResult
from quorate.doctor.machine import disk
from quorate.errors import UserError
from quorate.store import StoreUnavailable, open_store
from quorate.store.opening import folder_of


def check_store(uri: str) -> CheckResult:
    """Check the disk of a folder; write and read an object of an object store."""
    try:
        folder = folder_of(uri)
        if folder is not None:
            return disk("store", folder)
        return CheckResult("store", "ok", f"{open_store(uri).address} can be read and written")
    except (UserError, StoreUnavailable) as error:
        return CheckResult("store", "problem", str(error), "give --store or QUORATE_STORE a store that can be written")
