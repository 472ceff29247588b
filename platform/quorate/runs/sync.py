"""Send what is left of a run: its files to the bucket that it is kept in, and its records to MLflow."""

from __future__ import annotations

from collections.abc import Callable

from quorate.runs.bucket import remove_sent
from quorate.runs.folder import RunFolder
from quorate.runs.job_record import JOB_FILE, JobRecord
from quorate.runs.upload import RunUpload
from quorate.tracking.shipper_process import default_uri, sync


def send_rest(run: RunFolder, say: Callable[[str], None]) -> int:
    """Send the rest of a run; returns 0 if nothing is left to send, otherwise the exit code of the shipper.

    A working folder is removed when everything has been sent.
    """
    if run.origin is not None:
        run.publish()
        say(f"the run is in {run.address}")
        if not JobRecord.read(run.path / JOB_FILE).tracking.enabled:
            say("its job is not tracked, so nothing is sent to MLflow")
            _finish(run, say)
            return 0
    code = sync(run.path, default_uri())
    run.publish()  # how much has been sent
    if code == 0:
        _finish(run, say)
    return code


def _finish(run: RunFolder, say: Callable[[str], None]) -> None:
    if isinstance(run.origin, RunUpload):
        remove_sent(run, say)
