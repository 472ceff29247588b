"""Serve a bundle over HTTP on this machine until Ctrl-C, for `quorate serve`."""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from types import FrameType

from PIL import Image

from quorate.bundle import BundleManifest, DeviceChoice, check_code, check_combiner, verified_manifest
from quorate.data.signature import ImageSignature
from quorate.errors import Interrupted, UserError
from quorate.execution.ray.cluster import start_ray
from quorate.registry import own_code
from quorate.serving.auth import check_exposure, digest, read_token
from quorate.serving.limits import Limits
from quorate.serving.records import example

_CONTROLLER = "SERVE_CONTROLLER_ACTOR"
"""The name of Serve's controller."""
_ENDS_IN_S = 30.0
"""Maximum number of seconds to wait until the applications have ended; each replica has 5 s. An assumption, not a
measurement."""


def _say(line: str) -> None:
    print(line, flush=True)


class ServingFailed(RuntimeError):
    """The model or the front failed to start; the message ends with the reason."""


def serve_bundle(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    replicas: int = 1,
    threads: int | None = None,
    limits: Limits | None = None,
    block: bool = True,
    device: DeviceChoice = "auto",
    allow_code: bool = False,
    echo: Callable[[str], None] = _say,
) -> str:
    """Serve the bundle in `folder` and return its URL. With `block`, it returns after SIGINT or SIGTERM; otherwise at
    once.

    `threads` is the number of threads per replica; by default the replicas share all cores except one. Port 0 uses a
    free port. On the device `auto`, the replicas share the accelerators if there are any. With `allow_code`, the user's
    own code that a bundle names is imported. Without `block`, call `stop` to end the service.

    Raises `UserError` for errors that the user can fix (before Ray starts), `Interrupted` if a signal
    arrives before the ensemble is served, and `ServingFailed` otherwise.
    """
    limits = limits or Limits()
    manifest = servable(folder, allow_code=allow_code)
    token = read_token(token_file) if token_file else None
    check_exposure(host, token=token is not None)
    port = free_port(host, port)
    threads = threads or max(1, ((os.cpu_count() or 2) - 1) // replicas)
    with ExitStack() as ending:
        if block:
            ending.enter_context(_signals_interrupt())
        start_ray(cpus=replicas * threads, keeps_memory=False)
        if block:
            ending.enter_context(_signals_interrupt())  # set the handlers again, because Ray has replaced them
        ending.callback(_leave_ray)
        _refuse_running_serve()
        ending.callback(_end_serve)
        gpus = gpus_per_replica(device, ray_gpus(), replicas=replicas)
        _start_serve(host, port, limits)
        _deploy(folder, limits, digest(token) if token else None, replicas, threads, gpus, allow_code)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        echo(welcome(url, manifest, token_file))
        if block:
            with suppress(Interrupted):
                threading.Event().wait()
            echo("stopping")
        else:
            ending.pop_all()
    return url


def stop() -> None:
    """Stop Serve and disconnect from Ray; a local Ray instance is stopped too."""
    _end_serve()
    _leave_ray()


def servable(folder: Path, *, allow_code: bool = False) -> BundleManifest:
    """Return the manifest of a bundle that can be served, after a check of its files; raises `UserError`."""
    manifest = verified_manifest(folder)
    if not allow_code:
        with own_code.forbid_imports():
            check_code(folder, manifest)
            check_combiner(folder, manifest.combination)
    return manifest


def free_port(host: str, port: int) -> int:
    """Return `port` if it is free, or any free port if it is 0; raises `UserError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            bound: int = probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}:{port} ({error}); choose another with --port") from None
    return bound


def welcome(url: str, manifest: BundleManifest, token_file: Path | None) -> str:
    """Return a message with the URL and an example request: a grey picture, or a row with placeholder values."""
    signature = manifest.input.signature
    if isinstance(signature, ImageSignature):
        body = json.dumps({"images": [_grey_picture(signature)]})
        more = "or send a file: -H 'Content-Type: image/png' --data-binary @FILE.png"
    else:
        body = json.dumps({"inputs": [example(signature)]}, ensure_ascii=False)
        more = f"use your own values, and null for missing ones; the columns are listed at {url}/v1/metadata"
    authorization = f' -H "Authorization: Bearer $(cat {token_file})"' if token_file else ""
    return (
        f"{manifest.job} is served at {url} (stop it with Ctrl-C). Try:\n\n"
        f"  curl -s {url}/v1/predict{authorization} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(body)}\n\n{more}"
    )


def _grey_picture(signature: ImageSignature) -> str:
    """Return a grey PNG file in base64."""
    height, width, _ = signature.shape
    picture = BytesIO()
    Image.new("L", (width, height), 128).save(picture, "PNG")
    return base64.b64encode(picture.getvalue()).decode()


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Raise `Interrupted` in this block at the first SIGINT or SIGTERM; ignore later signals while the block ends."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, reaction in before.items():
            signal.signal(number, reaction)


def _leave_ray() -> None:
    import ray

    ray.shutdown()


def _end_serve() -> None:
    """Stop Serve and wait until its controller has ended.

    `serve.shutdown` waits inside a call that fails when the controller ends, and Ray prints this failure at every stop
    ("infinite retries"). This function therefore requests the shutdown without waiting in that call.
    """
    import ray
    from ray import serve
    from ray.exceptions import RayActorError

    until = time.monotonic() + _ENDS_IN_S
    with suppress(ValueError, RayActorError):  # there is no controller, or it has ended
        controller = ray.get_actor(_CONTROLLER, namespace="serve")
        ray.get(controller.graceful_shutdown.remote(wait=False), timeout=_ENDS_IN_S)
        while time.monotonic() < until:
            ray.get_actor(_CONTROLLER, namespace="serve")
            time.sleep(0.1)
    serve.shutdown()


def _refuse_running_serve() -> None:
    from ray import serve

    if serve.status().proxies:
        raise UserError(
            "Ray Serve already runs on this cluster, on another host or port; "
            "stop it with `serve shutdown`, or unset RAY_ADDRESS"
        )


def _start_serve(host: str, port: int, limits: Limits) -> None:
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": host,
            "port": port,
            "keep_alive_timeout_s": limits.keep_alive_s,
            # longer than the front's timeout, whose response is clearer
            "request_timeout_s": limits.body_timeout_s + limits.request_timeout_s + 5,
        },
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )


def ray_gpus() -> int:
    """The number of accelerators of the Ray that this process is connected to."""
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def gpus_per_replica(device: DeviceChoice, gpus: int, *, replicas: int) -> float:
    """Return the share of an accelerator for each replica, at most a whole one; 0 means that it predicts on the CPU.

    Raises `UserError` if the device is `cuda` and there is no accelerator.
    """
    if device == "cuda" and not gpus:
        raise UserError("the device is cuda, but Ray finds no accelerator; use --device cpu or --device auto")
    if device == "cpu" or not gpus:
        return 0
    return 1 / math.ceil(replicas / gpus)


def _deploy(
    folder: Path, limits: Limits, token: bytes | None, replicas: int, threads: int, gpus: float, allow_code: bool
) -> None:
    from quorate.serving.application import deploy

    try:
        deploy(folder, limits=limits, token=token, replicas=replicas, threads=threads, gpus=gpus, allow_code=allow_code)
    except RuntimeError as error:
        raise ServingFailed(f"{folder} cannot be served: {error}") from error
