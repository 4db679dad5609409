#!/usr/bin/env bash
# Asks for TPU slices as a queued resource and waits until they are there:
#
#   ZONE=us-east5-a launch/tpu_vm/create.sh my-pod v5p-16          # one slice
#   ZONE=us-east5-a launch/tpu_vm/create.sh my-pod v5p-16 4        # four slices
#
# SPOT=1 takes preemptible capacity. RUNTIME names the software of the VMs; the usual one for the
# accelerator by default.
set -euo pipefail
if [ $# -lt 2 ] || [ -z "${ZONE:-}" ]; then
  echo "usage: ZONE=... create.sh NAME ACCELERATOR_TYPE [SLICES]" >&2
  exit 2
fi
name=$1 type=$2 slices=${3:-1}
case "$type" in
  v5litepod-*) usual=v2-alpha-tpuv5-lite ;;
  v5p-*) usual=v2-alpha-tpuv5 ;;
  v6e-*) usual=v2-alpha-tpuv6e ;;
  *) usual= ;;
esac
runtime="${RUNTIME:-$usual}"
if [ -z "$runtime" ]; then
  echo "create.sh: no usual software is known for $type: RUNTIME must name it" >&2
  exit 2
fi
nodes=(--node-id="$name")
if [ "$slices" -gt 1 ]; then nodes=(--node-count="$slices" --node-prefix="$name"); fi
if [ -n "${SPOT:-}" ]; then nodes+=(--spot); fi

# The scope lets the VMs read the image and write the bucket of the runs.
gcloud compute tpus queued-resources create "$name" --zone="$ZONE" \
  --accelerator-type="$type" --runtime-version="$runtime" --scopes=cloud-platform "${nodes[@]}"
while :; do
  state="$(gcloud compute tpus queued-resources describe "$name" --zone="$ZONE" \
    --format='value(state.state)')"
  echo "$name: $state"
  case "$state" in
    ACTIVE) exit 0 ;;
    FAILED | SUSPENDED | SUSPENDING | DELETING) exit 1 ;;
  esac
  sleep 30
done
