# Sourced by the commands beside it: makes .venv with what pyproject.toml names, and does nothing when that is done already.
# Usage: . bin/setup.sh EXTRAS      (EXTRAS: "", "[emulation]" or "[dev]")

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"
extras=${1-}
stamp="$venv/.installed$extras-$(cksum <"$root/pyproject.toml" | tr " " "-")"

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && "$name" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "tailcall-audit needs Python 3.11 or newer; found: $(python3 --version 2>&1)" >&2
    return 1
}

if [ ! -e "$stamp" ]; then
    echo "setting up $venv (once)" >&2
    python=$(find_python) || exit 2
    if [ ! -x "$venv/bin/python" ] && ! "$python" -I -m venv "$venv" >/dev/null 2>&1; then
        rm -rf "$venv"
        # Debian and Ubuntu keep venv in a package of its own.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            { apt-get -qq update && apt-get -qq install -y python3-venv; } >&2 || exit 2
            "$python" -I -m venv "$venv" || exit 2
        else
            echo "$python cannot make a virtual environment: install python3-venv (sudo apt-get install python3-venv)" >&2
            exit 2
        fi
    fi
    "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check -e "$root$extras" >&2 || exit 2
    touch "$stamp"
fi
