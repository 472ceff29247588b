"""How much a served ensemble takes on before it says no."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the HTTP front; what is above them is refused with a 4xx or 503, never queued."""

    body_bytes: int = 16 << 20
    """Largest request body, in bytes: 413."""
    body_timeout_s: float = 15.0
    """Longest time in which a body must have arrived: 408."""
    rows: int = 1024
    """Most rows in one request: 413."""
    request_timeout_s: float = 30.0
    """Longest wait for an answer once the body is there: 504."""
    batch_rows: int = 256
    """Rows at which a batch is full; a request with more rows goes alone."""
    batch_wait_s: float = 0.005
    """Longest wait of a request for others to share its batch."""
    queued_rows: int = 4096
    """Most rows that wait for the model; above, 503 with Retry-After."""
    held_bytes: int = 1 << 30
    """Most bytes of the bodies of all requests that the front holds at a time: 503 with Retry-After."""
    open_requests: int = 512
    """Requests that the front holds at a time; as many again wait for it, the rest get 503. Slow and idle clients take
    such places too, so there are more of them than a model answers at a time (an assumption)."""
    retry_after_s: int = 1
    """What Retry-After says, in seconds."""
    keep_alive_s: int = 30
    """How long an idle connection stays open."""
