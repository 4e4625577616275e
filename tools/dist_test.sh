#!/usr/bin/env bash
# Evaluate on the GPUs of this machine: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
# On several machines run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set. Without GPUs, GPUS is the
# number of processes.
set -euo pipefail
if (($# < 3)); then
    echo "usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch.sh" test.py "$gpus" "$config" "$checkpoint" "$@"
