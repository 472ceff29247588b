"""Every backend of the store, and a store on it."""

from __future__ import annotations

import pytest

from quorate.store import Backend, LocalBackend, Store

BACKENDS = {"local": LocalBackend}


@pytest.fixture(params=BACKENDS)
def backend(request, tmp_path) -> Backend:
    return BACKENDS[request.param](tmp_path / "store")


@pytest.fixture
def store(backend) -> Store:
    return Store(backend)
