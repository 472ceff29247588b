import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from quorate.errors import UserError
from quorate.tracking import journal
from quorate.tracking.journal import Journal
from quorate.tracking.records import (
    ArtifactRecord,
    CloseRecord,
    EndRecord,
    HeaderRecord,
    MetricsRecord,
    Record,
    RunRecord,
    TagsRecord,
)


def kinds(records: Iterable[Record]) -> list[type[Record]]:
    return [type(record) for record in records]


def steps(path: Path) -> list[int]:
    return [record.step for record in journal.records(path) if isinstance(record, MetricsRecord)]


def test_records_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    with Journal(path, experiment="digits", source="quorate train") as notes:
        notes.run("job", name="a job", parent=None, tags={"a": "b"}, params={"rate": 0.1}, start_ms=5)
        notes.metrics("job", 3, {"loss": 0.25}, timestamp_ms=7)
        notes.artifact("job", path.parent / "plots" / "curve.png", "plots")
        notes.artifact("job", Path("/elsewhere/file"))
        notes.end("job", "FINISHED", 9)

    header, *rest = journal.records(path)

    assert isinstance(header, HeaderRecord)
    assert (header.version, header.experiment, header.source) == (1, "digits", "quorate train")
    assert len(header.run) == 32
    assert rest == [
        RunRecord("job", "a job", None, {"a": "b"}, {"rate": "0.1"}, start_ms=5),
        MetricsRecord("job", 3, {"loss": 0.25}, timestamp_ms=7),
        ArtifactRecord("job", "plots/curve.png", "plots"),
        ArtifactRecord("job", "/elsewhere/file", ""),
        EndRecord("job", "FINISHED", end_ms=9),
        CloseRecord(),
    ]
    assert journal.is_closed(path)


def test_an_incomplete_last_line_is_left_until_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as notes:
        notes.metrics("job", 0, {"loss": 1.0}, timestamp_ms=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])

    records, offset = journal.read(path, 0)

    assert kinds(records) == [HeaderRecord, MetricsRecord]
    assert not journal.is_closed(path)
    path.write_bytes(whole)
    assert journal.read(path, offset)[0] == [CloseRecord()]


@pytest.mark.parametrize("cut", [3, 30])
def test_a_journal_continues_after_a_line_truncated_by_a_crash(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, experiment="first") as notes:
        notes.metrics("job", 0, {"loss": 1.0}, timestamp_ms=1)
    path.write_bytes(path.read_bytes()[:-cut])

    with Journal(path, experiment="second") as notes:
        notes.metrics("job", 1, {"loss": 0.5}, timestamp_ms=2)

    headers = [record for record in journal.records(path) if isinstance(record, HeaderRecord)]
    assert [header.experiment for header in headers] == ["first"]
    assert steps(path) == ([0, 1] if cut == 3 else [1])
    assert journal.is_closed(path)


def test_a_header_truncated_by_a_crash_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"kind": "header", "vers')

    Journal(path, experiment="digits").close()

    header = journal.header(path)
    assert header is not None
    assert header.experiment == "digits"


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as notes:

        def write(member: int) -> None:
            for step in range(200):
                notes.metrics(f"job/{member}", step, {"loss": step / 7, "text": float(member)})

        threads = [threading.Thread(target=write, args=(member,)) for member in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for line in path.read_text().splitlines():
        json.loads(line)
    seen = [(record.uid, record.step) for record in journal.records(path) if isinstance(record, MetricsRecord)]
    assert sorted(seen) == sorted((f"job/{member}", step) for member in range(8) for step in range(200))


def test_a_line_longer_than_a_chunk_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as notes:
        notes.tags("job", {"long": "x" * (2 * journal.CHUNK)})

    assert kinds(journal.records(path)) == [HeaderRecord, TagsRecord, CloseRecord]
    assert journal.count(path, 0) == 3


def test_values_that_are_not_finite_are_valid_json_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as notes:
        notes.metrics("job", 0, {"a": float("nan"), "b": float("inf"), "c": float("-inf")})

    line = path.read_text().splitlines()[1]

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    values = json.loads(line, parse_constant=refuse)["values"]
    assert [str(float(values[key])) for key in "abc"] == ["nan", "inf", "-inf"]


@pytest.mark.parametrize("read", [journal.header, lambda path: list(journal.records(path)), Journal])
def test_a_journal_of_a_later_version_is_refused_with_the_fix(read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"kind": "header", "version": 2, "run": "x"}\n{"kind": "run", "name": {"long": "x"}}\n')
    said = f"{path} has journal version 2, but this Quorate reads versions up to 1; upgrade Quorate"

    with pytest.raises(UserError, match=re.escape(said)):
        read(path)


def test_a_full_disk_loses_records_without_stopping_the_job(tmp_path: Path) -> None:
    # a limit on the size of files fails writes as a full disk does, part of the last one included
    program = """
import resource, sys
from pathlib import Path
from quorate.tracking.journal import Journal
notes = Journal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
for step in range(50):
    notes.metrics("job", step, {"loss": 1.0}, timestamp_ms=1)
lost = notes.lost
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
notes.metrics("job", 99, {"loss": 1.0}, timestamp_ms=1)
notes.close()
print(lost)
"""
    path = tmp_path / "journal.jsonl"

    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)

    lost = int(done.stdout)
    assert lost > 0
    assert steps(path) == [*range(50 - lost), 99]
    assert done.stderr.count("records for MLflow are lost") == 1


def test_the_journal_and_the_driver_side_import_nothing_heavy() -> None:
    program = "import sys, quorate.tracking.journal, quorate.tracking.shipper_process; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    heavy = {"mlflow", "numpy", "torch", "ray", "pydantic", "pandas", "sklearn"}
    assert heavy.isdisjoint(loaded.split())
