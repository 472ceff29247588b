#!/bin/sh
# Install the packages of a lock into the active virtual environment, with CPU builds of torch and torchvision.
#
#   sh cpu-packages.sh requirements-runtime.lock
#
# All other packages are checked against the hashes of the lock. The CPU builds have the versions of the lock, but
# PyTorch serves them from its own index with other hashes, so these are not checked. What only the CUDA build needs is
# left out. Nothing in this file needs a change; the Dockerfile calls it.
set -eu
lock=$1
rest=$(mktemp)
trap 'rm -f "$rest"' EXIT

awk '/^[a-z0-9]/ { keep = $0 !~ /^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)==/ } keep' "$lock" > "$rest"
uv pip sync --require-hashes "$rest"
# shellcheck disable=SC2046 # two words are wanted
uv pip install --no-deps --torch-backend cpu $(grep -oE '^(torch|torchvision)==[0-9][^ ;]*' "$lock")
