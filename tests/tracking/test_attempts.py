"""Which failures of a call to MLflow are outages, and which are refusals of a record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE

from quorate.tracking import attempts
from quorate.tracking.attempts import PATIENCE, PatientClient, UnreachableError

OF_SERVER = RestException({"error_code": "INTERNAL_ERROR", "message": "the value has a NUL character"})
OF_GATEWAY = MlflowException(
    "API request to endpoint /api/2.0/mlflow/runs/log-batch failed with error code 502 != 200. Response body: '<h1>'",
    error_code=INTERNAL_ERROR,
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.0)


def raises(error: Exception) -> Callable[[], None]:
    def call() -> None:
        calls.append(error)
        raise error

    calls: list[Exception] = []
    call.calls = calls  # type: ignore[attr-defined]
    return call


def works() -> None:
    pass


def test_an_error_of_a_gateway_is_an_outage_at_once() -> None:
    call = raises(OF_GATEWAY)

    with pytest.raises(UnreachableError, match="failed with error code 502"):
        PatientClient(works)("metric", call)

    assert len(call.calls) == 1  # type: ignore[attr-defined]


def test_an_error_of_a_server_that_accepts_other_writes_is_a_refusal() -> None:
    call = raises(OF_SERVER)

    reason = PatientClient(works)("metric", call)

    assert reason == "RestException: INTERNAL_ERROR: the value has a NUL character"
    assert len(call.calls) == PATIENCE  # type: ignore[attr-defined]


def test_an_error_of_a_server_that_accepts_no_write_is_an_outage() -> None:
    full = RestException({"error_code": "INTERNAL_ERROR", "message": "database or disk is full"})

    with pytest.raises(UnreachableError, match="disk is full"):
        PatientClient(raises(full))("metric", raises(OF_SERVER))


def test_a_database_that_is_locked_is_an_outage() -> None:
    locked = MlflowException("(sqlite3.OperationalError) database is locked", error_code=TEMPORARILY_UNAVAILABLE)

    with pytest.raises(UnreachableError, match="database is locked"):
        PatientClient(works)("metric", raises(locked))
