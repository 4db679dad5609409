#!/usr/bin/env bash
# Installs jaxreason into .venv, trains the three regimes on small Wilson mazes, evaluates each on
# every generator and writes one report. Two CPU cores, about ten minutes after the installation.
# Started again, it goes on where it stopped. Argument: the folder for the runs.
source "$(dirname "$0")/install.sh"
install_jaxreason
folder="${1:-runs/quickstart}"
regimes=(solution_only correct swapped)
jaxreason=.venv/bin/jaxreason
# The regimes train side by side; a small model gains nothing from a second core of its own.
export XLA_FLAGS="${XLA_FLAGS:---xla_cpu_multi_thread_eigen=false}"

# Runs a command for all regimes at once, its lines marked with the regime.
for_all_regimes() {
  local regime pids=()
  for regime in "${regimes[@]}"; do
    "$@" "$regime" 2>&1 | sed -u "s/^/$(printf '%-13s' "$regime") | /" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
}

train() {
  "$jaxreason" train experiments/maze/tiny.py --run "$folder/$1" --data.regime "$1"
}

evaluate() {
  "$jaxreason" evaluate "$folder/$1" --generators all --count 200 --temperature 0
}

started=$SECONDS
for_all_regimes train
for_all_regimes evaluate
"$jaxreason" report "${regimes[@]/#/$folder/}" --out "$folder/report"
echo "training and evaluation took $((SECONDS - started)) s; report: $folder/report/report.html"
