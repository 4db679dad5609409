#!/usr/bin/env bash
# Stops training on all hosts: every process saves and ends; run.sh goes on from there.
#
#   ZONE=us-east5-a launch/tpu_vm/stop.sh my-pod
set -euo pipefail
if [ $# != 1 ] || [ -z "${ZONE:-}" ]; then
  echo "usage: ZONE=... stop.sh NAME" >&2
  exit 2
fi
# A host whose lock is free runs nothing, and the number in its file may be anybody's by now.
# shellcheck disable=SC2016 # the hosts read their own files
gcloud compute tpus queued-resources ssh "$1" --zone="$ZONE" --node=all --worker=all --command \
  'flock --nonblock jaxreason.lock true || kill -TERM "$(cat jaxreason.pid)"
  flock jaxreason.lock tail --lines=1 jaxreason.log'
