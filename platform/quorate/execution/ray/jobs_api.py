"""Ray's client of the Jobs API with time limits, and with the files in the log folder of a node."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from ray.job_submission import JobSubmissionClient

CONNECT_SECONDS = 3.0
"""Time limit for a connection to the dashboard: an assumption."""
_READ_SECONDS = 60.0
"""Time limit for the next bytes of an answer: an assumption. A file that is followed can be silent for longer; then the
connection is made again."""
_FILE_SECONDS = 24 * 3600
"""Time limit for a whole file. Ray's default is 30 s."""
_POLL_SECONDS = 0.5
"""Seconds between two looks of the node at a file that is followed: an assumption."""
_PIECE = 1 << 20

# It would print the name of each package that it sends.
logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)


class JobsApi(JobSubmissionClient):  # type: ignore[misc]
    """Requests to the dashboard of a head node. Ray's own client waits without limit, and reads no files.

    Methods raise `OSError` if the dashboard does not answer, `ray.exceptions.AuthenticationError` if it refuses the
    token, and `RuntimeError` for other refusals.
    """

    def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
        return super()._do_request(method, endpoint, timeout=(CONNECT_SECONDS, _READ_SECONDS), **more)

    def list_files(self, node: str, pattern: str) -> list[str]:
        """The files and folders (with a slash at the end) below the log folder of a node, by a glob pattern."""
        query = urlencode({"node_id": node, "glob": pattern})
        answer = self._do_request("GET", f"/api/v0/logs?{query}")
        if answer.status_code != 200:
            self._raise_error(answer)
        said = answer.json()
        return sorted(name for names in said["data"]["result"].values() for name in names)

    def read_file(self, node: str, name: str, *, follow: bool = False) -> Iterator[bytes]:
        """The content of a file below the log folder of a node in pieces; with `follow`, what is added to it too, until
        the caller stops. Raises `FileNotFoundError`."""
        more = {"interval": _POLL_SECONDS} if follow else {"timeout": _FILE_SECONDS}
        query = urlencode({"node_id": node, "filename": name, "lines": -1, **more})
        url = f"{self.get_address()}/api/v0/logs/{'stream' if follow else 'file'}?{query}"
        request, empty = Request(url, headers=self._headers), True  # noqa: S310 - the address is http:// or https://
        try:  # `_do_request` would read the whole answer first
            with urlopen(request, timeout=_READ_SECONDS, context=self._ssl_context) as answer:  # noqa: S310
                while piece := answer.read1(_PIECE):
                    empty = False
                    yield piece
        except HTTPError as refusal:
            if refusal.code == 500 and b"not found" in refusal.read():
                raise FileNotFoundError(name) from None
            raise
        except HTTPException as broken:
            raise ConnectionError(f"{name} did not arrive completely ({type(broken).__name__})") from broken
        # the answer about a file that does not exist is sometimes empty (about one in three with Ray 2.60)
        if empty and not follow and not self.list_files(node, glob.escape(name)):
            raise FileNotFoundError(name)
