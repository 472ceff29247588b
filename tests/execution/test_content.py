"""A temporary file without a name: it ends with what refers to it, and names its folder on a full disk."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
from tests.execution.jobs import spooled_files
from tests.job.test_store_faults import small_disk

from quorate.cli.environment import explain_os_error
from quorate.execution.content import HeldBytes, SpooledFile, WrittenBlob, held_by


def test_a_spooled_file_has_its_pieces_and_no_name_and_ends_with_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    content = SpooledFile()
    content.append(b"one")
    content.append(b"two")

    with content.path.open("rb") as first, content.path.open("rb") as second:
        assert (first.read(4), second.read()) == (b"onet", b"onetwo"), "each reads on its own"
    assert content.size == 6 and held_by(content) == HeldBytes(disk=6)
    assert list(tmp_path.iterdir()) == [] and spooled_files(tmp_path) == 1
    del content
    assert spooled_files(tmp_path) == 0


def test_bytes_are_in_memory_and_blobs_are_elsewhere() -> None:
    assert held_by(b"four") == HeldBytes(memory=4)
    assert held_by(WrittenBlob("ab")) == HeldBytes()


@pytest.mark.chaos
def test_a_full_disk_is_an_error_with_its_folder_and_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", "1m"):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
        content = SpooledFile()

        with pytest.raises(OSError) as caught:
            content.append(bytes(2 << 20))

        assert caught.value.errno == errno.ENOSPC
        assert explain_os_error(caught.value) == (
            f"{tmp_path}/disk cannot be written: no space is left on the disk; make room (`quorate store collect "
            "--max-size SIZE`, `quorate runs remove RUN`) or choose another disk (QUORATE_STORE, QUORATE_RUNS, "
            "TMPDIR), and run the command again: finished work is kept",
            1,
        )
        del content, caught
