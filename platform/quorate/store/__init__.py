"""Store finished work: blobs named by their content, manifests written atomically, and leases.

Backends are a folder and object stores.
"""

from quorate.store.backend import Backend, Entry, LocalBackend, StoreRefused, StoreUnavailable
from quorate.store.blobs import Damaged, Manifest, Store
from quorate.store.bucket import variables_of
from quorate.store.lease_record import LeaseHolder
from quorate.store.leases import Lease, LeaseLost
from quorate.store.opening import find_store, open_store, reached

__all__ = [
    "Backend",
    "Damaged",
    "Entry",
    "Lease",
    "LeaseHolder",
    "LeaseLost",
    "LocalBackend",
    "Manifest",
    "Store",
    "StoreRefused",
    "StoreUnavailable",
    "find_store",
    "open_store",
    "reached",
    "variables_of",
]
