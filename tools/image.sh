#!/usr/bin/env bash
# Builds the Docker image, for GPUs with `tools/image.sh '[cuda]'`, and tries it as an ordinary user.
set -euo pipefail
cd "$(dirname "$0")/.."
docker build -t keras_dcgan --build-arg "EXTRA=${1:-}" .
docker run --rm -i -u 1000:1000 --entrypoint python keras_dcgan - < tools/smoke.py
