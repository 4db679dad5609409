# Sourced by the scripts beside it: a virtual environment `.venv` with jaxreason and the extras
# named as arguments. Installs only when the project's dependencies changed since the last time.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

install_jaxreason() {
  local extras="${1:-}" dependencies stamp=.venv/.installed
  # One line for every set of extras installed, so that scripts that want different ones do not
  # undo each other's; an interrupted installation left no line and is made again.
  dependencies="$(cat pyproject.toml launch/constraints.txt | sha256sum | cut -d' ' -f1)"
  grep -qs "^$dependencies ${extras:+.*\b$extras\b}" "$stamp" && return
  .venv/bin/python -m pip --version > /dev/null 2>&1 || "${PYTHON:-python3}" -m venv .venv
  echo "installing jaxreason${extras:+[$extras]} into .venv"
  # Bytecode is compiled at installation: without it `import jax` takes ten seconds.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --compile \
    --constraint launch/constraints.txt --editable ".${extras:+[$extras]}"
  echo "$dependencies $extras" >> "$stamp"
}
