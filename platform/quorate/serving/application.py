"""Define the two Ray Serve applications: the front, and a version of the ensemble behind it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from ray import serve
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from starlette.applications import Starlette

from quorate.bundle import MANIFEST, Bundle, DeviceChoice, QuorumLost, read_manifest
from quorate.data.signature import TableSignature
from quorate.data.table import ColumnError
from quorate.runs.lookup import bundle_folder
from quorate.serving.batcher import Rows
from quorate.serving.errors import ModelFailed, ModelUnavailable, QuorumMissing, RowRefused
from quorate.serving.front import Front
from quorate.serving.limits import Limits
from quorate.serving.model import ModelInfo, Scores
from quorate.serving.records import as_frame
from quorate.serving.response import description

FRONT = "front"
"""Name of the application that receives the requests."""

DEAD = (RayActorError, WorkerCrashedError, ObjectLostError, ReplicaUnavailableError)
"""Errors of a call whose replica died; the call can be repeated on another replica."""

ATTEMPTS = 3
"""Maximum number of replicas that a call is tried on, one after another. An assumption, not a measurement."""
SLOTS = 8
"""Maximum number of concurrent calls to a replica of the model: one batch, and health checks. An assumption, not a
measurement."""
QUIET = {"log_level": "WARNING", "enable_access_log": False}


@serve.deployment(
    health_check_period_s=5,
    health_check_timeout_s=30,
    graceful_shutdown_wait_loop_s=0.2,
    graceful_shutdown_timeout_s=5,
    max_constructor_retry_count=1,
    logging_config=QUIET,
)
class EnsembleReplica:
    """All members of one version in one process. A single thread predicts, so that the event loop stays free."""

    def __init__(
        self, run: str, *, version: str | None, threads: int, device: DeviceChoice, allow_code: bool = False
    ) -> None:
        """`run` is a bundle folder or a run, which is downloaded if necessary. Raises `ValueError` if its version is
        not `version`, unless that is None."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        loaded = self._thread.submit(_load, run, version, threads, device, allow_code)
        self._model, self._version = loaded.result()

    async def predict(self, rows: Rows, members: bool) -> Scores:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: _predict(self._model, rows, members)
        )

    async def info(self) -> ModelInfo:
        return ModelInfo.of(self._model.manifest, self._version)

    async def describe(self) -> dict[str, Any]:
        return description(self._model.manifest, self._version)


def _load(run: str, version: str | None, threads: int, device: DeviceChoice, allow_code: bool) -> tuple[Bundle, str]:
    folder = bundle_folder(run)
    found = version_of(folder)
    if version not in (None, found):
        raise ValueError(f"{folder} contains a different model from that of version {version}")
    model = Bundle.load(folder, allow_code=allow_code, device=device)
    if "torch" in sys.modules:
        # PyTorch's number of threads is set per thread, so it is set in the thread that predicts
        sys.modules["torch"].set_num_threads(threads)
    return model, found


def _inputs(model: Bundle, rows: Rows) -> NDArray[np.uint8] | pd.DataFrame:
    """Convert rows from the front to the input of the model."""
    signature = model.manifest.input.signature
    untyped: NDArray[Any] = rows
    return as_frame(untyped, signature) if isinstance(signature, TableSignature) else untyped


def _predict(model: Bundle, rows: Rows, members: bool) -> Scores:
    try:
        prediction = model.predict(_inputs(model, rows), members=members)
    except QuorumLost as error:
        raise QuorumMissing(str(error)) from error
    except ColumnError as error:
        raise RowRefused(error.problem, error.column, error.row) from error
    return Scores(
        prediction.proba.astype("float64"),
        model.calibrated(prediction.members or {}),
        prediction.lost_rows,
        prediction.unfamiliar,
    )


class PinnedVersion:
    """One version of the ensemble, which the front calls through the handle of its application."""

    def __init__(self, handle: Any, model: ModelInfo, *, timeout_s: float) -> None:
        self._handle = handle
        self._timeout_s = timeout_s
        self.model = model

    async def predict(self, rows: Rows, members: bool) -> Scores:
        scores: Scores = await ask(self._handle, "predict", rows, members, timeout_s=self._timeout_s)
        return scores

    async def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = await ask(self._handle, "describe", timeout_s=self._timeout_s)
        return described


class CurrentVersion:
    """The version of the ensemble to which the front sends new requests."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pinned: PinnedVersion | None = None

    @property
    def current(self) -> PinnedVersion:
        assert self._pinned is not None, "the front answers only after its first `switch`"
        return self._pinned

    async def switch(self, handle: Any, *, timeout_s: float) -> None:
        """Make the version that a Serve handle calls the current one, once it responds."""
        model: ModelInfo = await ask(handle, "info", timeout_s=timeout_s)
        self._pinned = PinnedVersion(handle, model, timeout_s=self._timeout_s)


async def ask(handle: Any, method: str, *arguments: Any, timeout_s: float) -> Any:
    """Return the result of a call; if its replica dies, the call is repeated on another replica."""
    async with asyncio.timeout(timeout_s):
        for attempt in range(1, ATTEMPTS + 1):
            response = getattr(handle, method).remote(*arguments)
            try:
                return await response
            except DEAD as error:
                if attempt == ATTEMPTS:
                    raise ModelUnavailable("the model's processes keep dying") from error
                await asyncio.sleep(0.1 * attempt)
            except (BackPressureError, DeploymentUnavailableError) as error:
                raise ModelUnavailable("the model is overloaded or not running") from error
            except RayTaskError as error:
                if isinstance(error.cause, ModelUnavailable | ModelFailed):
                    raise error.cause from None
                raise ModelFailed(str(error)) from error
            except RayServeException as error:
                raise ModelUnavailable(str(error)) from error
            except asyncio.CancelledError:
                response.cancel()
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # Serve cancels the calls of a replica that it stops; this task itself was not cancelled
                raise ModelUnavailable("the call was cancelled") from None
    raise AssertionError("the last attempt answers or raises")


@serve.deployment(
    name=FRONT,
    ray_actor_options={"num_cpus": 0},
    graceful_shutdown_wait_loop_s=0.2,
    graceful_shutdown_timeout_s=5,
    logging_config=QUIET,
)
@serve.ingress()
class FrontReplica:
    """The HTTP interface. It sends requests to `ensemble`, a handle, or else to the application that its user
    configuration names."""

    def __init__(self, *, limits: Limits, token: bytes | None, concurrency: int, ensemble: Any = None) -> None:
        self._ensemble = ensemble
        self._backend = CurrentVersion(timeout_s=limits.request_timeout_s)
        self._front = Front(self._backend, limits=limits, token=token, concurrency=concurrency)

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Switch to a version if it responds in time; otherwise raise an error and keep the current version."""
        handle = serve.get_app_handle(config["application"]) if self._ensemble is None else self._ensemble
        await self._backend.switch(handle, timeout_s=config["timeout_s"])

    def __serve_build_asgi_app__(self) -> Starlette:
        return self._front.app()


def version_of(folder: Path) -> str:
    """Return the first 12 hexadecimal digits of the manifest's SHA-256; the manifest contains the hash of every
    file."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:12]


def application_name(job: str, version: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', job)}-{version}"


def _why(application: str) -> str:
    """Return Serve's message that explains why an application does not start."""
    status = serve.status().applications.get(application)
    deployments = status.deployments.values() if status else ()
    return "\n".join(deployment.message for deployment in deployments if deployment.message)


def bind_ensemble(
    run: str,
    *,
    version: str | None = None,
    replicas: int,
    threads: int,
    gpus: float,
    allow_code: bool,
) -> Any:
    """Describe the deployment of a version to Serve; see `EnsembleReplica`.

    Each replica predicts on its share `gpus` of an accelerator, or on the CPU if that is 0.
    """
    kind: Any = EnsembleReplica  # a cast for mypy: the decorator turns the class into a deployment
    return kind.options(
        num_replicas=replicas,
        ray_actor_options={"num_cpus": threads, "num_gpus": gpus},
        max_ongoing_requests=SLOTS,
        max_queued_requests=SLOTS * replicas,
    ).bind(run, version=version, threads=threads, device="cuda" if gpus else "cpu", allow_code=allow_code)


def bind_front(
    *,
    limits: Limits,
    token: bytes | None,
    concurrency: int,
    configuration: dict[str, Any],
    ensemble: Any = None,
    replicas: int = 1,
    cpus: float = 0,
) -> Any:
    """Describe the deployment of the front to Serve; see `FrontReplica`."""
    kind: Any = FrontReplica  # as above
    return kind.options(
        num_replicas=replicas,
        ray_actor_options={"num_cpus": cpus},
        max_ongoing_requests=limits.open_requests,
        max_queued_requests=limits.open_requests,
        backpressure_config={"status_code": 503, "retry_after_s": limits.retry_after_s},
        user_config=configuration,
    ).bind(limits=limits, token=token, concurrency=concurrency, ensemble=ensemble)


def deploy(
    folder: Path,
    *,
    limits: Limits,
    token: bytes | None = None,
    replicas: int = 1,
    threads: int = 1,
    gpus: float = 0,
    allow_code: bool = False,
) -> str:
    """Deploy the bundle in `folder` and the front on the running Serve; return the name of the bundle's application.

    Each replica predicts on its share `gpus` of an accelerator, or on the CPU if that is 0. Returns once both
    applications respond; raises `RuntimeError` if one does not start.
    """
    version = version_of(folder)
    job = read_manifest(folder).job
    application = application_name(job, version)
    ensemble = bind_ensemble(
        str(folder.resolve()), version=version, replicas=replicas, threads=threads, gpus=gpus, allow_code=allow_code
    )
    try:
        serve.run(ensemble, name=application, route_prefix=None)
    except RuntimeError as error:
        reason = _why(application) or str(error)
        serve.delete(application)
        raise RuntimeError(f"version {version} of {job} does not start: {reason}") from error
    configuration = {"application": application, "timeout_s": limits.request_timeout_s}
    front = bind_front(limits=limits, token=token, concurrency=replicas, configuration=configuration)
    serve.run(front, name=FRONT, route_prefix="/")
    return application
