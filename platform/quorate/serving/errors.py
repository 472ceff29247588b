"""Define the errors that clients get when a request is not answered."""

from __future__ import annotations

from collections.abc import Mapping

SHOWN_CHARACTERS = 80
"""Maximum number of characters of a name or a value in a message."""


class RequestError(ValueError):
    """A refused request: the HTTP status, the problem, the field, and what was expected."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        expected: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.expected = expected
        self.headers = dict(headers or {})

    def body(self) -> dict[str, dict[str, str]]:
        said = {"field": self.field, "message": self.message, "expected": self.expected}
        return {"error": {key: value for key, value in said.items() if value is not None}}


class ModelUnavailable(RuntimeError):
    """The model does not answer now, but may answer soon: 503."""


class QuorumMissing(ModelUnavailable):
    """Too few members answer for some rows of a call: 503."""


class ModelFailed(RuntimeError):
    """The model raised an error: 500."""


class RowRefused(ModelFailed):
    """The model refuses a row that the front accepted: 422."""

    def __init__(self, problem: str, column: str, row: int | None) -> None:
        super().__init__(problem, column, row)
        self.problem, self.column, self.row = problem, column, row
