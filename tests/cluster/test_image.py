"""The image: its packages come from a lock without test tools, and its steps make an environment that works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
USER = 1234
"""A user without rights and without a name, as a cluster may choose one."""
MOUNTS = """
set -e
mount --bind / /
mount -o remount,bind,ro /
for folder in /tmp /dev/shm {work}; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
cd {work}
exec setpriv --reuid={user} --regid={user} --clear-groups "$@"
"""
"""A root file system that is read-only but for the volumes that the pods of kuberay/ mount."""


def locked(name: str) -> dict[str, set[str]]:
    """The versions of each package in a lock; several where they depend on the version of Python."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", requirement)[0] for requirement in requirements}


def instructions(stage: str) -> list[str]:
    """The instructions of a stage of the Dockerfile, with continued lines joined."""
    text = DOCKERFILE.replace("\\\n", " ")
    parts = re.split(r"^FROM \S+ AS (\S+)$", text, flags=re.MULTILINE)
    body = dict(zip(parts[1::2], parts[2::2], strict=True))[stage]
    return [line for line in body.splitlines() if re.match("[A-Z]+ ", line)]


def allowed_files() -> set[str]:
    """What .dockerignore lets into the build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_the_lock_of_the_image_has_what_the_package_needs_and_no_test_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = names(project["dependencies"] + extras["onnx"] + extras["boosting"] + extras["server"])
    tools = names(extras["dev"]) - needed

    lock = locked("requirements-runtime.lock")

    assert needed <= lock.keys()
    # packages that MLflow or Ray needs itself
    assert tools & lock.keys() <= {"jsonschema"}, tools & lock.keys()


def test_the_image_has_the_versions_that_the_tests_run_with() -> None:
    tested, image = locked("requirements.lock"), locked("requirements-runtime.lock")

    different = {name for name in tested.keys() & image.keys() if not image[name] & tested[name]}

    assert different == set()


def test_every_file_of_the_lock_has_a_hash_and_none_has_an_address() -> None:
    text = (ROOT / "requirements-runtime.lock").read_text()

    blocks = [block for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE) if not block.startswith("#")]
    assert blocks and all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text and "--index-url" not in text


def test_nccl_of_cuda_12_does_not_replace_that_of_torch() -> None:
    lock = locked("requirements-runtime.lock")

    assert "nvidia-nccl-cu13" in lock and "nvidia-nccl-cu12" not in lock


def test_the_cpu_image_leaves_out_cuda_and_takes_the_versions_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / "uv").write_text(
        '#!/bin/sh\necho "$@" >> "$SAID"\nfor last; do :; done\n[ -f "$last" ] && cat "$last"\n'
    )
    (tmp_path / "uv").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(tmp_path / "said")}
    script = [str(ROOT / "cluster" / "cpu-packages.sh"), str(ROOT / "requirements-runtime.lock")]

    ran = subprocess.run(["sh", *script], env=environment, capture_output=True, text=True)

    assert ran.returncode in (0, 1), ran.stderr
    sync, install = (tmp_path / "said").read_text().splitlines()
    assert sync.startswith("pip sync --require-hashes ")
    lock = locked("requirements-runtime.lock")
    (torch,), (torchvision,) = lock["torch"], lock["torchvision"]
    assert install == f"pip install --no-deps --torch-backend cpu torch=={torch} torchvision=={torchvision}"
    kept = set(re.findall(r"^([a-z0-9._-]+)==", ran.stdout, re.MULTILINE))
    left_out = lock.keys() - kept
    assert {"torch", "torchvision", "triton"} <= left_out
    assert all(re.match("nvidia-|cuda-|torch|triton", name) for name in left_out), left_out


def test_the_image_runs_without_rights_and_asks_for_a_token() -> None:
    base = instructions("base")

    assert "USER ${UID}" in base, "a number: Kubernetes cannot tell whether a name is root"
    assert any("RAY_AUTH_MODE=token" in line for line in base)
    assert f"uv=={re.search(r'UV_VERSION := (.+)', (ROOT / 'Makefile').read_text())[1]}" in DOCKERFILE  # type: ignore[index]


def test_the_build_gets_every_file_that_it_copies() -> None:
    copied = {
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }

    assert copied == allowed_files()
    assert all((ROOT / source).exists() for source in copied)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users reach, for files of several GB."""
    folder = Path("/var/tmp/quorate-image-test")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_the_steps_of_the_image_make_an_environment_that_trains_without_rights(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start processes as another user and mount a read-only file system")
    python = shutil.which("python3.11", path="/usr/local/bin:/usr/bin")
    if python is None:
        pytest.skip("Python 3.11 is not installed for all users")
    source, work = place / "src", place / "work"
    for name in (
        "platform",
        "pyproject.toml",
        "requirements.lock",
        "requirements-runtime.lock",
        "README.md",
        "LICENSE",
    ):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    (place / "home").mkdir()
    work.mkdir()
    for path in [place, *place.rglob("*")]:
        os.chown(path, USER, USER)
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    kept = {name: value for name, value in os.environ.items() if "CERT" in name or "SSL" in name or "PROXY" in name}
    environment = {**kept, "HOME": str(place / "home"), "PATH": f"{place}/uv/bin:/usr/bin:/bin"}
    environment |= {"VIRTUAL_ENV": str(place / "venv"), "UV_CACHE_DIR": str(place / "cache")}

    def step(*words: str) -> None:
        ran = subprocess.run([*as_user, *words], cwd=source, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, f"{words}\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"

    step(python, "-m", "venv", str(place / "uv"))
    step(f"{place}/uv/bin/python", "-m", "pip", "install", "--quiet", "uv==0.13.9")
    step(python, "-m", "venv", "--without-pip", str(place / "venv"))
    steps = [line.removeprefix("RUN ") for stage in ("wheel", "cuda-packages") for line in instructions(stage)]
    for command in (each for each in steps if each.startswith("uv ")):
        step("sh", "-c", command.replace("/wheel", f"{place}/wheel").replace("/opt/quorate", f"{place}/venv"))

    bin_ = place / "venv" / "bin"
    assert not [tool for tool in ("pytest", "mypy", "ruff", "moto_server", "playwright") if (bin_ / tool).exists()]
    job = "name: image\\ndata: {kind: digits, limit: 300}\\nvalidation: {folds: 2}\\nmembers: {svm: {kind: svm}}\\n"
    train = f"printf '{job}' > job.yaml && quorate train job.yaml --executor ray && ls runs/*/bundle/manifest.json"
    variables = {"HOME": str(work), "MPLCONFIGDIR": f"{work}/.matplotlib", "PATH": f"{bin_}:/usr/bin:/bin"}
    trained = subprocess.run(
        ["unshare", "--mount", "sh", "-c", MOUNTS.format(work=work, user=USER), "sh", "sh", "-c", train],
        env={**variables, "RAY_AUTH_MODE": "token", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )

    assert trained.returncode == 0, trained.stdout[-3000:] + trained.stderr[-3000:]
    assert "bundle/manifest.json" in trained.stdout
