"""What tests share: the digits, job files from text, one Ray of two CPUs, and a small bundle."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and NumPy are first imported
os.environ["RAY_AUTH_MODE"] = "disabled"  # read when Ray is first imported
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["QUORATE_CACHE"] = tempfile.mkdtemp(prefix="quorate-cache-")

import pytest

from quorate.data.source import OpenedData

if TYPE_CHECKING:
    from tests.jobs import Here
    from tests.object_stores import ObjectServer

ROOT = Path(__file__).parents[1]


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["QUORATE_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3() -> Iterator[ObjectServer]:
    """A server that speaks the protocol of S3; the AWS_* variables lead to it."""
    from tests.object_stores import object_server

    with object_server() as server:
        yield server


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a real job of three quick members on the digits."""
    from tests.jobs import SMALL, Here

    here = Here(tmp_path_factory.mktemp("tiny"))
    here.run(SMALL)
    return here.newest_run() / "bundle"


@pytest.fixture(scope="session")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A finished job on a table, in its folder."""
    from tests.tables import run_customers

    return run_customers(tmp_path_factory.mktemp("customers"))


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A finished job of networks and an SVM, in its folder; nothing in it is changed."""
    from tests.teachers import run_teachers

    return run_teachers(tmp_path_factory.mktemp("teachers"))


@pytest.fixture(scope="session")
def digits() -> OpenedData:
    from quorate.data.sources.digits import Digits, DigitsParams

    return Digits.open(DigitsParams())


@pytest.fixture
def job_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
