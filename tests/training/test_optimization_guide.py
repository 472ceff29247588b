"""Every example of the guide is a member that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quorate.registry import INITIALIZATIONS, OPTIMIZERS, SCHEDULES
from quorate.spec import load_job

GUIDE = (Path(__file__).parents[2] / "docs" / "training" / "optimization.md").read_text(encoding="utf-8")
FRAGMENTS = re.findall(r"^```yaml fragment\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=range(len(FRAGMENTS)))
def test_an_example_of_the_guide_loads(fragment, tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("data: digits\n" + fragment, encoding="utf-8")

    assert load_job(path).spec.members


@pytest.mark.parametrize("registry", [INITIALIZATIONS, OPTIMIZERS, SCHEDULES], ids=lambda registry: registry.what)
def test_the_guide_names_every_kind(registry):
    assert all(f"`{name}`" in GUIDE for name in registry.names() if registry.reference(name) is None)
