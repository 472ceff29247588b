"""The log files of the tasks of a run."""

from __future__ import annotations

from pathlib import Path

from tests.tiny import plan_of

from quorate.execution.events import Failed, Reported, Started, Stopped
from quorate.runs.logs import RunLogs


def test_a_line_is_in_its_file_at_once_and_no_file_stays_open(tmp_path: Path) -> None:
    # given
    (tmp_path / "logs").mkdir()
    first, second = (task for task in plan_of("{cnn: {kind: net, arch: small_cnn}}").tasks if task.fold < 2)
    logs = RunLogs(tmp_path)

    def text(fold: int) -> list[str]:
        lines = (tmp_path / "logs" / f"cnn.fold{fold}.log").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line[2:3] == ":"]

    # when
    logs.write(Started(first, 1, "here:1"))
    logs.write(Started(second, 1, "here:2", restored=True))
    logs.write(Reported(first, 1, {"train_loss": 0.5}))

    # then
    assert text(1) == ["attempt 1 on here:1", "epoch 1: train_loss 0.5"]
    assert text(2) == ["attempt 1 on here:2, from a checkpoint"]
    assert open_files(tmp_path) == 0
    logs.write(Failed(first, 1, "lost", "the worker died", final=False))
    logs.write(Started(first, 2, "here:3"))
    RunLogs(tmp_path).write(Stopped(second))
    assert text(1) == [
        "attempt 1 on here:1",
        "epoch 1: train_loss 0.5",
        "attempt 1 lost: the worker died",
        "attempt 2 on here:3",
    ]
    assert text(2)[-1] == "stopped"


def open_files(below: Path) -> int:
    """The number of files below a folder that this process has open."""
    links = list(Path("/proc/self/fd").iterdir())
    return sum(str(link.readlink()).startswith(str(below)) for link in links if link.is_symlink())
