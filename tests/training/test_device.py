"""Which device members predict on."""

from __future__ import annotations

import pytest
import torch

from quorate.errors import UserError
from quorate.training.device import device_of


@pytest.mark.parametrize(
    ("choice", "there", "expected"),
    [
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_auto_takes_an_accelerator_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, choice: str, there: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)

    assert device_of(choice) == expected


def test_cuda_without_an_accelerator_is_refused_with_the_other_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(UserError, match="PyTorch finds no accelerator on this machine; use --device cpu"):
        device_of("cuda")


def test_an_unknown_device_is_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match="unknown device 'gpu'; choose one of auto, cpu, cuda"):
        device_of("gpu")
