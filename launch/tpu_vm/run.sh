#!/usr/bin/env bash
# Starts training on every host of the slices that create.sh got:
#
#   ZONE=us-east5-a IMAGE=us-docker.pkg.dev/my-project/images/jaxreason:tpu \
#     launch/tpu_vm/run.sh my-pod experiments/maze/paper.py --run gs://my-bucket/runs/paper \
#     --batch.batch_size 8
#
# CACHE names a directory of compiled programs in the bucket; without it each host has its own.
#
# Training goes on without this terminal. The same command once more starts it on hosts where it no
# longer runs, such as one that was rebooted, and leaves the others alone. The log of a host:
#
#   gcloud compute tpus queued-resources ssh my-pod --zone=us-east5-a --worker=0 \
#     --command='tail --follow jaxreason.log'
set -euo pipefail
if [ $# -lt 2 ] || [ -z "${ZONE:-}" ] || [ -z "${IMAGE:-}" ]; then
  echo "usage: ZONE=... IMAGE=... run.sh NAME FILE --run gs://... [--FIELD VALUE ...]" >&2
  exit 2
fi
name=$1
shift
all=(--zone="$ZONE" --node=all --worker=all)
worker="$(dirname -- "${BASH_SOURCE[0]}")/worker.sh"
gcloud compute tpus queued-resources scp "$worker" "$name:jaxreason-worker.sh" "${all[@]}"
printf -v command '%q ' "$IMAGE" "${CACHE:-}" "$@"
gcloud compute tpus queued-resources ssh "$name" "${all[@]}" --command \
  "setsid nohup bash jaxreason-worker.sh $command >> jaxreason.log 2>&1 < /dev/null &"
