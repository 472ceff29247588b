"""Every backend of the store, and a store on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.store.contents import StorePlace

from quorate.store import Backend, Store


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path: Path) -> StorePlace:
    if request.param == "folder":
        return StorePlace(str(tmp_path / "store"))
    server = request.getfixturevalue("s3")
    return StorePlace(server.new_store(), server)


@pytest.fixture
def backend(place: StorePlace) -> Backend:
    return place.backend


@pytest.fixture
def store(backend: Backend) -> Store:
    return Store(backend)
