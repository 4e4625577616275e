#!/usr/bin/env bash
# Evaluate on a Slurm cluster: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]
# Environment variables: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS (more options for srun), PYTHON.
set -euo pipefail
if (($# < 4)); then
    echo "usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]" >&2
    exit 2
fi
partition=$1 job=$2 config=$3 checkpoint=$4
shift 4
exec bash "$(dirname "${BASH_SOURCE[0]}")/slurm.sh" "$partition" "$job" test.py "$config" "$checkpoint" "$@"
