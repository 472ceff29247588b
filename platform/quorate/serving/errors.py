"""Define the errors that clients get when a request fails."""

from __future__ import annotations

from collections.abc import Mapping

SHOWN_CHARACTERS = 80
"""Maximum number of characters that a message shows of a name or a value."""


class RequestError(ValueError):
    """A rejected request: the HTTP status, the problem, the field, and what was expected."""

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
    """The model is not available now, but may be available soon: 503."""


class QuorumMissing(ModelUnavailable):
    """Too few members have predicted some rows of a call: 503."""


class ModelFailed(RuntimeError):
    """The model raised an error: 500."""


class RowRefused(ModelFailed):
    """The model rejects a row that the front accepted: 422."""

    def __init__(self, problem: str, column: str, row: int | None) -> None:
        super().__init__(problem, column, row)
        self.problem, self.column, self.row = problem, column, row
