#!/usr/bin/env bash
# Shared by dist_train.sh and dist_test.sh: `launch.sh TOOL PROCESSES ARGUMENTS...` runs tools/TOOL with torchrun.
# Environment variables: NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500), MAX_RESTARTS (0), PYTHON.
set -euo pipefail

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-python}
tool=$1 processes=$2
shift 2

if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of processes (GPUs) must be a positive integer, not '$processes'" >&2
    exit 2
fi

nodes=${NNODES:-1}
port=${PORT:-29500}
if [[ $nodes == 1 ]]; then
    # On a single machine any free port will do.
    free=$("$PYTHON" - "$port" <<'PY'
import socket, sys
with socket.socket() as probe:
    try:
        probe.bind(("127.0.0.1", int(sys.argv[1])))
    except OSError:
        probe.bind(("127.0.0.1", 0))
    print(probe.getsockname()[1])
PY
)
    [[ $free == "$port" ]] || echo "port $port is in use, using $free" >&2
    port=$free
fi

# Without GPUs the processes share the cores; by default torchrun gives each process one thread.
if [[ -z ${OMP_NUM_THREADS:-} ]]; then
    threads=$(($(nproc) / processes))
    export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
fi

exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$nodes" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="$port" \
    --nproc-per-node="$processes" \
    --max-restarts="${MAX_RESTARTS:-0}" \
    "$TOOLS/$tool" "$@" --launcher pytorch
