#!/usr/bin/env bash
# Several training processes on this machine, started again together when one of them dies:
#
#   PROCESSES=4 launch/local/train.sh experiments/maze/tiny.py --run runs/four \
#     --batch.batch_size 4
#
# Each process has DEVICES CPU devices (default 1). For GPUs one process is enough: it drives all.
set -euo pipefail
if [ $# = 0 ]; then
  echo "usage: PROCESSES=N launch/local/train.sh FILE [--run DIRECTORY] [--FIELD VALUE ...]" >&2
  exit 2
fi
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
exec "${JAXREASON:-.venv/bin/jaxreason}" launch --processes "${PROCESSES:-2}" \
  --devices-per-process "${DEVICES:-1}" --restarts "${JAXREASON_RESTARTS:-100}" -- train "$@"
