"""What several tests of jobs share."""

from __future__ import annotations

from typing import Any

import pytest

from quorate.members.backbone import Extractor


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows in each call of a network."""
    asked: list[int] = []
    compute = Extractor.__call__

    def counting(self: Extractor, images: Any, **rest: Any) -> Any:
        asked.append(len(images))
        return compute(self, images, **rest)

    monkeypatch.setattr(Extractor, "__call__", counting)
    return asked
