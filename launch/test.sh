#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them; arguments go to pytest.
source "$(dirname -- "$0")/install.sh"
install_jaxreason dev
# Files side by side: most of their time is compilation, which uses one core.
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile "$@"
