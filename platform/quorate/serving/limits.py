"""Define the limits of a served ensemble."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of the HTTP front; requests that exceed them are rejected with a 4xx, 503 or 504 status.

    The defaults are assumptions, not measurements.
    """

    body_bytes: int = 16 << 20
    """Maximum size of a request body in bytes; larger bodies get 413."""
    body_timeout_s: float = 15.0
    """Maximum number of seconds until the whole body has arrived; slower requests get 408."""
    rows: int = 1024
    """Maximum number of rows in a request; larger requests get 413."""
    request_timeout_s: float = 30.0
    """Maximum number of seconds from the arrival of the body to the response; slower requests get 504."""
    batch_rows: int = 256
    """Maximum number of rows in a batch; a request with more rows is sent alone."""
    batch_wait_s: float = 0.005
    """Maximum number of seconds that a request waits for others to share its batch."""
    queued_rows: int = 4096
    """Maximum number of rows that wait for the model; further requests get 503 with Retry-After."""
    held_bytes: int = 1 << 30
    """Maximum number of bytes in the bodies of all current requests; further requests get 503 with Retry-After."""
    open_requests: int = 512
    """Maximum number of concurrent requests of the front. The same number can wait; further requests get 503. Slow and
    idle clients count too, so this is more than a model can process at once."""
    retry_after_s: int = 1
    """The value of Retry-After in seconds."""
    keep_alive_s: int = 30
    """Number of seconds that an idle connection stays open."""
