#!/usr/bin/env bash
# Gives the slices back, whatever runs on them; run directories in a bucket stay.
#
#   ZONE=us-east5-a launch/tpu_vm/delete.sh my-pod
set -euo pipefail
if [ $# != 1 ] || [ -z "${ZONE:-}" ]; then
  echo "usage: ZONE=... delete.sh NAME" >&2
  exit 2
fi
gcloud compute tpus queued-resources delete "$1" --zone="$ZONE" --force --quiet
