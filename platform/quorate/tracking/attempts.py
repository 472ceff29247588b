"""Repeat calls to MLflow, and distinguish temporary failures from permanent ones."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from quorate.tracking.position import public

REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "NOT_IMPLEMENTED"}
"""Error codes of permanent failures: the server will never accept the call."""
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
"""Error codes of temporary failures: the same call succeeds later, or after a person has fixed the server."""
PATIENCE = 5
"""Maximum number of attempts at a call that fails while the server responds to other calls, for example because its
artifact store is down (an assumption)."""
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; each further pause is twice as long (an assumption)."""


class UnreachableError(RuntimeError):
    """The server cannot be reached now; the records stay in the journal."""


class PatientClient:
    """Repeats calls. An outage raises an error; a refusal is returned, so that the next records can be sent."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._patience: defaultdict[str, int] = defaultdict(lambda: PATIENCE)

    def __call__(self, what: str, call: Callable[[], None]) -> str | None:
        """Make the call; return None if it succeeded, or the reason why it will never succeed.

        If all attempts at a call of the kind `what` fail, the next calls of this kind get one attempt each, until one
        succeeds. Otherwise a thousand artifacts without an artifact store would take hours.

        Raises:
            UnreachableError: the server is down or denies access.
        """
        for attempt in range(self._patience[what]):
            if attempt:
                time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
            try:
                call()
            except Exception as error:  # an error of one record must not stop the others
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
    """The error in one line of at most 300 characters, without passwords in URLs."""
    lines = public(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]
