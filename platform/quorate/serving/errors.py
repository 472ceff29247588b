"""What a client is told when a request is not answered."""

from __future__ import annotations

from collections.abc import Mapping


class RequestError(ValueError):
    """A request that is refused: the status, what is wrong, where, and what was expected instead."""

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
    """The model does not answer now, and may soon: 503."""


class QuorumMissing(ModelUnavailable):
    """Too few members answer for some rows of a call: 503."""


class ModelFailed(RuntimeError):
    """The model raised an error: 500."""


class RowRefused(ModelFailed):
    """A row holds what the model does not take, although the front let it pass: 422."""

    def __init__(self, problem: str, column: str, row: int | None) -> None:
        super().__init__(problem, column, row)
        self.problem, self.column, self.row = problem, column, row
