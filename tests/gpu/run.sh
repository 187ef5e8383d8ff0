#!/bin/sh
# What diffaug does on a GPU, in one command; `tests/gpu/run.sh --help` lists the options.
# PYTHON is a Python of 3.11 or later with torch for CUDA; by default python3.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH=$root exec "${PYTHON:-python3}" -P -m tests.gpu.drive "$@"
