#!/usr/bin/env bash
# Installs the checkout that this action is in into an environment of its own, in the runner's temporary folder.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
venv="${RUNNER_TEMP:?}/tailcall-audit"
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$root/contrib/constraints.txt" "$root[formats,images]"
"$venv/bin/tailcall-audit" --version
