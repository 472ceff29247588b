"""The tests of accelerators run on machines that have neither Ray nor MLflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.system
def test_the_tests_of_accelerators_are_collected_without_ray_and_mlflow() -> None:
    code = (
        "import sys; sys.modules['ray'] = sys.modules['mlflow'] = None\n"
        "import pytest; raise SystemExit(pytest.main(['-q', '--collect-only', '-p', 'no:cacheprovider', 'tests/gpu']))"
    )
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
