#!/usr/bin/env bash
# Shared by slurm_train.sh and slurm_test.sh: `slurm.sh PARTITION JOB_NAME TOOL ARGUMENTS...` runs tools/TOOL with srun.
set -euo pipefail

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
partition=$1 job=$2 tool=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
((per_node <= gpus)) || per_node=$gpus

# SRUN_ARGS holds several options, to be split at spaces.
# shellcheck disable=SC2086
exec srun --partition="$partition" \
    --job-name="$job" \
    --gres=gpu:"$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/$tool" "$@" --launcher slurm
