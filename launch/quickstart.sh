#!/usr/bin/env bash
# Installs jaxreason into .venv, trains the three regimes on small Wilson mazes, evaluates each on
# every generator and writes one report. Two CPU cores, about ten minutes after the installation.
# Started again, it goes on where it stopped. Argument: the folder for the runs.
folder="${1:-runs/quickstart}"
case "${1:-/}" in /*) ;; *) folder="$PWD/$1" ;; esac
source "$(dirname -- "$0")/install.sh"
install_jaxreason
regimes=(solution_only correct swapped)
jaxreason=.venv/bin/jaxreason
# The regimes train side by side; a small model gains nothing from a second core of its own.
export XLA_FLAGS="${XLA_FLAGS:---xla_cpu_multi_thread_eigen=false}"

# The shell hides Ctrl-C from what runs in the background, so it is handed on: training saves.
pids=()
stop() {
  trap - INT TERM
  kill "${pids[@]}" 2> /dev/null
  wait
  exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM

# Runs a command for all regimes at once, its lines marked with the regime; fails if one does.
for_all_regimes() {
  local regime pid code=0
  pids=()
  for regime in "${regimes[@]}"; do
    # Not a pipeline: `$!` has to be the command itself.
    "$@" "$regime" > >(sed -u "s/^/$(printf '%-13s' "$regime") | /") 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
  [ "$code" = 0 ] || exit "$code"
}

train() {
  exec "$jaxreason" train experiments/maze/tiny.py --run "$folder/$1" --data.regime "$1"
}

evaluate() {
  exec "$jaxreason" evaluate "$folder/$1" --generators all --count 200 --temperature 0
}

started=$SECONDS
for_all_regimes train
for_all_regimes evaluate
"$jaxreason" report "${regimes[@]/#/$folder/}" --out "$folder/report"
echo "training and evaluation took $((SECONDS - started)) s; report: $folder/report/report.html"
