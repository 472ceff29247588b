"""Repeat calls to MLflow, and distinguish temporary failures from permanent ones."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from mlflow.exceptions import MlflowException, RestException

from quorate.errors import without_secrets

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
"""Maximum number of attempts at a call that fails while the server accepts other calls, for example because its
artifact store is down (an assumption)."""
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; each further pause is twice as long (an assumption)."""


class UnreachableError(RuntimeError):
    """The server cannot be reached now; the records stay in the journal."""


class PatientClient:
    """Repeats calls. An outage raises an error; a refusal is returned, so that the next records can be sent.

    `write` is a call that changes nothing and that a server in order accepts.
    """

    def __init__(self, write: Callable[[], None]) -> None:
        self._write = write
        self._patience: defaultdict[str, int] = defaultdict(lambda: PATIENCE)

    def __call__(self, what: str, call: Callable[[], None]) -> str | None:
        """Make the call; return None if it succeeded, or the reason why it will never succeed.

        If all attempts at a call of the kind `what` fail, the next calls of this kind get one attempt each, until one
        succeeds. Otherwise a thousand artifacts without an artifact store would take hours.

        Raises:
            UnreachableError: the server is down, accepts nothing, or denies access.
        """
        for attempt in range(self._patience[what]):
            if attempt:
                time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
            try:
                call()
            except Exception as error:  # an error of one record must not stop the others
                reason = first_line(error)
                code = getattr(error, "error_code", None) if isinstance(error, MlflowException) else None
                if code in OUTAGES or _is_of_a_gateway(error):
                    raise UnreachableError(reason) from error
                if code in REFUSALS or isinstance(error, FileNotFoundError):
                    return reason
                self._see_whether_it_writes()
            else:
                self._patience.pop(what, None)
                return None
        self._patience[what] = 1
        return reason

    def _see_whether_it_writes(self) -> None:
        """Reading says too little: with a full disk or a locked table, a server still answers questions."""
        try:
            self._write()
        except Exception as error:
            raise UnreachableError(first_line(error)) from error


def _is_of_a_gateway(error: Exception) -> bool:
    """Whether something in front of the server has answered with an error of its own: MLflow answers in JSON, which
    becomes a `RestException`."""
    of_server = isinstance(error, RestException)
    return isinstance(error, MlflowException) and not of_server and "failed with error code 5" in str(error)


def first_line(error: BaseException) -> str:
    """The error in one line of at most 300 characters, without passwords in URLs."""
    lines = without_secrets(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]
