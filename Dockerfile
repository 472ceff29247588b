# One image for all processes on a cluster: head, workers, driver, serving, and the MLflow server.
#
#   docker build -t quorate .                    # with CUDA; several GB, most of it torch
#   docker build -t quorate:cpu --target cpu .   # without CUDA
#   docker run --rm --shm-size=2g -v "$PWD:/work" quorate quorate train pipelines/digits.yaml
#
# The packages are those of requirements-runtime.lock (`make lock`), which has no test tools; each file is checked
# against its SHA-256. The exception: torch and torchvision of the target `cpu` have the versions of the lock, but come
# from PyTorch's own index, whose files have other hashes.
#
# To change:
# - UID: the user of the processes (`--build-arg UID="$(id -u)"`), if /work is a folder of yours. The files for
#   Kubernetes expect 1000.
# - PYTHON: name a digest (python@sha256:...) if the system packages must not change between two builds.
#
# /work holds the job files, and gets runs/, .quorate/store and mlflow.db. Ray's object store lives in /dev/shm, which
# Docker makes 64 MB small unless told otherwise. With a GPU: --gpus all.

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS tools
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv --without-pip /opt/quorate
ENV VIRTUAL_ENV=/opt/quorate \
    UV_NO_CACHE=1 \
    UV_COMPILE_BYTECODE=1
WORKDIR /src
COPY requirements-runtime.lock .

# The package as a wheel. Its build tools, those of requirements.lock, stay here.
FROM tools AS wheel
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY platform platform
RUN uv build --wheel --require-hashes --build-constraints requirements.lock --out-dir /wheel

FROM tools AS cuda-packages
RUN uv pip sync --require-hashes requirements-runtime.lock
COPY --from=wheel /wheel /wheel
RUN uv pip install --no-deps /wheel/*.whl

FROM tools AS cpu-packages
COPY cluster/cpu-packages.sh .
RUN sh cpu-packages.sh requirements-runtime.lock
COPY --from=wheel /wheel /wheel
RUN uv pip install --no-deps /wheel/*.whl

# KubeRay's health checks call wget, and `ray up` copies files with rsync. Both start shells of their own, which is why
# there is no entrypoint, and why /etc/profile.d sets the PATH again.
FROM ${PYTHON} AS base
ARG UID=1000
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 rsync wget \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid "$UID" --create-home quorate \
 && install -d -o quorate -g quorate /work \
 && echo 'export PATH=/opt/quorate/bin:$PATH' > /etc/profile.d/quorate.sh
ENV PATH=/opt/quorate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GIT_PYTHON_REFRESH=quiet \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
USER ${UID}
WORKDIR /work
VOLUME /work
CMD ["quorate", "--help"]

FROM base AS cpu
COPY --from=cpu-packages /opt/quorate /opt/quorate

FROM base AS cuda
COPY --from=cuda-packages /opt/quorate /opt/quorate
