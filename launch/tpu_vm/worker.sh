#!/usr/bin/env bash
# run.sh copies this to every TPU host: one training process in a container, started again after
# 42 (preempted), 43 (watchdog) and signals, never after 1 (failure) or 2 (bad input).
# Arguments: IMAGE, directory of compiled programs ("" for one on this host), then those of
# `jaxreason train`.
set -uo pipefail
cd || exit
image=$1 cache=${2:-/cache}
shift 2
# One at a time, or two processes would fight for the TPU.
exec 9> jaxreason.lock
if ! flock --nonblock 9; then
  echo "worker.sh: already running here"
  exit 0
fi
echo $$ > jaxreason.pid

asked='' code=42
trap 'asked=1' TERM
sudo gcloud --quiet auth configure-docker "${image%%/*}"
for ((restarts = 0; ; restarts++)); do
  if [ "$asked" ]; then break; fi
  sudo docker rm --force jaxreason > /dev/null 2>&1
  # Root and all devices, for the TPU's; the host's network, for the other hosts and the metadata
  # server, where JAX reads which host this is.
  sudo docker run --name jaxreason --privileged --user 0 --network host \
    --volume "$HOME/jaxreason-cache:/cache" --env JAX_COMPILATION_CACHE_DIR="$cache" \
    "$image" train "$@" 9>&- &
  run=$!
  # The job is looked at, for it is root's process and may not be signalled. Stopped as often as it
  # takes, for the container may not be there yet.
  while jobs -rp | grep -x "$run" > /dev/null; do
    if [ "$asked" ]; then sudo docker stop -t 120 jaxreason > /dev/null 2>&1; fi
    sleep 1
  done
  wait "$run"
  code=$?
  echo "worker.sh: ended with $code after $restarts restarts"
  case $code in
    42 | 43 | 129 | 1[3-8]? | 19[0-2]) ;;
    *) exit "$code" ;;
  esac
  if [ "$restarts" -ge "${JAXREASON_RESTARTS:-100}" ]; then exit "$code"; fi
done
exit "$code"
