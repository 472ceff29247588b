"""Store finished work on disk: blobs named by their content, manifests written atomically, and leases."""

from quorate.store.backend import Backend, Entry, LocalBackend
from quorate.store.blobs import Damaged, Manifest, Store
from quorate.store.opening import find_store, open_store

__all__ = ["Backend", "Damaged", "Entry", "LocalBackend", "Manifest", "Store", "find_store", "open_store"]
