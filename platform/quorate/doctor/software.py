"""Check installed versions and extras, and whether torch works and finds the GPUs."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from quorate import __version__
from quorate.doctor.check import CheckResult
from quorate.registry.extras import install_command, requirement_name, requirements

LIBRARIES = (
    *("torch", "torchvision", "timm", "ray", "mlflow", "scikit-learn", "lightgbm", "catboost", "tabm"),
    *("numpy", "pandas", "pydantic", "skops"),
)
PYTHONS = ((3, 11), (3, 14))
"""The lowest supported version of Python, and the lowest version that is too new, as in `requires-python`."""
IMPORT_SECONDS = 60.0
"""Time limit in seconds for a process that imports torch and counts its GPUs. An assumption, not a measurement."""

# Imported in another process, because importing torch takes seconds, and a broken driver can hang or kill the process.
_ASK_TORCH = """
import json, torch, torchvision, timm
count = torch.cuda.device_count()
print(json.dumps({
    "cuda": torch.version.cuda,
    "threads": torch.get_num_threads(),
    "gpus": [[torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory] for i in range(count)],
    "bf16": bool(count) and torch.cuda.is_bf16_supported(),
}))
"""


def versions() -> Iterator[CheckResult]:
    """Check the versions of Python, quorate, and the libraries that affect results."""
    lowest, above = PYTHONS
    python = platform.python_version()
    if lowest <= sys.version_info[:2] < above:
        yield CheckResult("python", "ok", f"{python} at {sys.executable}")
    else:
        fix = f"create an environment with Python {lowest[0]}.{lowest[1]} to {above[0]}.{above[1] - 1}"
        yield CheckResult("python", "problem", f"{python} is not supported", fix)
    yield CheckResult("quorate", "ok", __version__)
    found = {name: _version(name) for name in LIBRARIES}
    if missing := [name for name, number in found.items() if number is None]:
        yield CheckResult(
            "libraries", "problem", f"{', '.join(missing)} not installed", "install quorate with its dependencies"
        )
    yield CheckResult("libraries", "ok", ", ".join(f"{name} {number}" for name, number in found.items() if number))


def extras() -> Iterator[CheckResult]:
    """Check which extras of the package are installed, except the one for developers."""
    try:
        about = metadata("quorate")
    except PackageNotFoundError:
        yield CheckResult(
            "extras", "note", "the package quorate is imported from its source folder; install it: pip install -e ."
        )
        return
    for extra in about.get_all("Provides-Extra") or ():
        if extra == "dev":
            continue
        names = [requirement_name(line) for line in requirements(extra)]
        missing = [name for name in names if _version(name) is None]
        if missing:
            wanted = [line for name, line in zip(names, requirements(extra), strict=True) if name in missing]
            message = f"not installed: {', '.join(missing)}; to install: {install_command(wanted)}"
            yield CheckResult(f"extra {extra}", "note", message)
        else:
            yield CheckResult(f"extra {extra}", "ok", ", ".join(f"{name} {_version(name)}" for name in names))


def torch_and_gpus() -> Iterator[CheckResult]:
    """Check that torch, torchvision and timm can be imported together, and list the GPUs that torch finds."""
    command = [sys.executable, "-c", _ASK_TORCH]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        message = f"importing torch and counting its GPUs took more than {IMPORT_SECONDS:.0f} s"
        yield CheckResult("torch", "problem", message, "check whether nvidia-smi works, and how fast this disk is")
        return
    if done.returncode != 0:
        if done.returncode < 0:
            ended = f"it was ended by {signal.Signals(-done.returncode).name}"
        else:
            ended = f"it ended with code {done.returncode}"
        last = (done.stderr.strip().splitlines() or [ended])[-1]
        fix = "install matching releases of torch and torchvision from the same package index, then timm"
        yield CheckResult("torch", "problem", f"torch, torchvision and timm cannot be imported together: {last}", fix)
        return
    found = json.loads(done.stdout.splitlines()[-1])
    yield CheckResult("torch", "ok", f"imports; built for {'CUDA ' + found['cuda'] if found['cuda'] else 'CPUs'}")
    driver = _driver()
    if found["gpus"]:
        named = ", ".join(f"{name} ({size / (1 << 30):.0f} GiB)" for name, size in found["gpus"])
        fast = "bfloat16" if found["bf16"] else "no bfloat16"
        yield CheckResult("GPUs", "ok", f"{named}; {fast}; driver {driver or 'unknown'}")
    elif driver is not None:
        fix = (
            "install a torch built for CUDA"
            if not found["cuda"]
            else "install a torch whose CUDA version this driver supports"
        )
        message = f"the NVIDIA driver {driver} is installed, but torch finds no GPU"
        yield CheckResult("GPUs", "problem", message, fix + ", or check CUDA_VISIBLE_DEVICES")
    else:
        yield CheckResult("GPUs", "ok", "none; members train on the CPU")


def _driver() -> str | None:
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split("Module", 1)[1].split()
    except (OSError, IndexError):
        return None
    return next((word for word in words if word[:1].isdigit()), None)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
