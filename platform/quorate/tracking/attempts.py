"""Which failures of a call to MLflow mean "later", and which mean "never"."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from quorate.tracking.position import public

REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "NOT_IMPLEMENTED"}
"""The server has understood and will not accept it another time either."""
OUTAGES = {
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
    "PERMISSION_DENIED",
    "ENDPOINT_NOT_FOUND",
}
"""Time must pass, or somebody must act; then the same call goes through."""
PATIENCE = 5
"""Attempts at a call that fails while the server answers others (its artifact store is down, say)."""
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""


class UnreachableError(RuntimeError):
    """The server takes nothing now; everything waits in the journal."""


class PatientClient:
    """Calls with patience: an outage raises, a refusal is returned, so that it stops nothing behind it."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._patience: defaultdict[str, int] = defaultdict(lambda: PATIENCE)

    def __call__(self, what: str, call: Callable[[], None]) -> str | None:
        """Make the call; the reason if it will never succeed, else None.

        Once a call of the sort `what` was given up, the next ones get a single attempt until one
        succeeds: a thousand artifacts without an artifact store do not take hours.

        Raises:
            UnreachableError: the server is down, or does not let us in.
        """
        for attempt in range(self._patience[what]):
            if attempt:
                time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
            try:
                call()
            except Exception as error:  # whatever one record raises must not stop the others
                reason = first_line(error)
                code = getattr(error, "error_code", None) if isinstance(error, MlflowException) else None
                if code in OUTAGES:
                    raise UnreachableError(reason) from error
                if code in REFUSALS or isinstance(error, FileNotFoundError):
                    return reason
                self._ask_whether_it_answers()
            else:
                self._patience.pop(what, None)
                return None
        self._patience[what] = 1
        return reason

    def _ask_whether_it_answers(self) -> None:
        try:
            self._client.search_experiments(max_results=1)
        except Exception as error:
            raise UnreachableError(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """A failure in one line of at most 300 characters, without the password of an address in it."""
    lines = public(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]
