#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them; arguments go to pytest.
source "$(dirname -- "$0")/install.sh"
install_jaxreason dev
exec .venv/bin/python -m pytest "$@"
