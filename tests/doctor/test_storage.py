"""What `quorate doctor` says of the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.object_stores import ObjectServer

from quorate.doctor.storage import check_store


def test_a_store_that_can_be_written_is_fine(tmp_path: Path, s3: ObjectServer) -> None:
    url = s3.new_store()

    assert check_store(str(tmp_path)).level == "ok"
    found = check_store(url)
    assert (found.level, found.message) == ("ok", f"{url} can be read and written")


@pytest.mark.parametrize("uri", ["s3://forbidden/x", "s3://nothing-here/x", "s4://bucket/x"])
def test_a_store_that_cannot_be_used_is_a_problem_with_its_fix(uri: str, s3: ObjectServer) -> None:
    found = check_store(uri)

    assert found.level == "problem"
    assert "--store" in found.message and "QUORATE_STORE" in found.fix
