# Sourced by the scripts beside it: a virtual environment `.venv` with jaxreason and the extras
# named as arguments. Installs only when the project's dependencies changed since the last time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

install_jaxreason() {
  local extras="${1:-}"
  # An interrupted or older installation is repaired: the stamp names what is installed.
  local wanted stamp=.venv/.installed
  wanted="$(cat pyproject.toml launch/constraints.txt | sha256sum | cut -d' ' -f1) ${extras}"
  [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing jaxreason${extras:+[$extras]} into .venv"
    # Bytecode is compiled at installation: without it `import jax` takes ten seconds.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --compile \
      --constraint launch/constraints.txt --editable ".${extras:+[$extras]}"
    echo "$wanted" > "$stamp"
  fi
}
