"""Open the job and the data of a finished run again."""

from __future__ import annotations

from quorate.bundle import BundleError, read_manifest
from quorate.errors import UserError
from quorate.plan.opening import open_data
from quorate.report.run_report import RunInputs
from quorate.runs.folder import RunFolder
from quorate.spec import JobSpec, load_job


def reopen(folder: RunFolder) -> RunInputs:
    """The job and its data, if available; `note` says what is missing and why."""
    try:
        job = load_job(folder.path / "job.json")
    except (UserError, OSError) as error:
        note = f"The job cannot be read again ({_first_line(error)}), so its rows cannot be shown."
        return RunInputs(_spec(folder), note=note)
    try:
        context = open_data(job)
    except (UserError, OSError) as error:
        return RunInputs(
            job.spec, note=f"The data cannot be opened again ({_first_line(error)}), so rows are shown by number only."
        )
    try:
        fingerprint = read_manifest(folder.bundle).data.fingerprint
    except BundleError as error:
        note = f"The data cannot be compared with the run ({_first_line(error)}), so rows are shown by number only."
        return RunInputs(job.spec, note=note)
    if context.train.fingerprint != fingerprint:
        return RunInputs(job.spec, note="The data have changed since the run, so rows are shown by number only.")
    return RunInputs.of(job.spec, context.train, context.test)


def _spec(folder: RunFolder) -> JobSpec | None:
    """The job specification of the run, if only its files are missing."""
    try:
        return folder.spec()
    except UserError:
        return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
