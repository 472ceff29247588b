"""All tests of this folder need an accelerator that PyTorch finds; without one they are skipped."""

from __future__ import annotations

import pytest
import torch

from quorate.execution.hardware import this_hardware
from quorate.training.context import Hardware


@pytest.fixture(autouse=True)
def accelerator() -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no accelerator on this machine")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


@pytest.fixture(scope="session")
def hardware() -> Hardware:
    return this_hardware()
