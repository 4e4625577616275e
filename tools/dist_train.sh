#!/usr/bin/env bash
# Train on the GPUs of this machine: bash tools/dist_train.sh CONFIG GPUS [options of train.py]
# On several machines run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set. Without GPUs, GPUS is the
# number of processes.
set -euo pipefail
if (($# < 2)); then
    echo "usage: bash tools/dist_train.sh CONFIG GPUS [options of train.py]" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch.sh" train.py "$gpus" "$config" "$@"
