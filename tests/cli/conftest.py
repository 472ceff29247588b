"""The command line in this process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quorate.cli import main

InFolder = Callable[..., tuple[int, str, str]]


@pytest.fixture
def quorate_in(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> InFolder:
    """The exit code, output and errors of a command in a folder."""

    def run(folder: Path, *arguments: str, columns: int | None = None) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        if columns is not None:
            monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["quorate", *arguments])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run
