# The command `quorate` with everything in requirements.lock; several GB, most of it torch's CUDA build.
#
#   docker build --build-arg UID="$(id -u)" -t quorate .
#   docker run --rm --shm-size=2g -v "$PWD:/work" quorate train pipelines/digits.yaml
#
# /work holds the job files, and gets runs/, .quorate/store and mlflow.db. Ray's object store lives in
# /dev/shm, which Docker makes 64 MB small unless told otherwise. With a GPU: --gpus all.

FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv --without-pip /opt/quorate
WORKDIR /src
COPY requirements.lock .
RUN uv pip sync --no-cache --python /opt/quorate/bin/python --require-hashes requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY platform platform
RUN uv build --wheel --no-build-isolation --python /opt/quorate/bin/python --out-dir /wheel \
 && uv pip install --no-cache --python /opt/quorate/bin/python --no-deps /wheel/*.whl

FROM python:3.11-slim
ARG UID=1000
RUN useradd --uid "$UID" --create-home quorate && install -d -o quorate -g quorate /work
COPY --from=build /opt/quorate /opt/quorate
ENV PATH=/opt/quorate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet
USER quorate
WORKDIR /work
VOLUME /work
ENTRYPOINT ["quorate"]
CMD ["--help"]
