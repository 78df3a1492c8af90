# Sourced by the commands beside it: makes a virtual environment with what pyproject.toml names; does nothing when there is one.
# Usage: . bin/setup.sh EXTRAS      (EXTRAS: "", "[emulation,images]" or "[dev]")
#
# Sets `root`, this checkout, and `venv`: .venv in the checkout, or a folder of the user's cache if the checkout is read-only.
# Writes nothing else but a lock and pip's words beside it, and installs nothing on the machine. If something is missing, the
# caller ends with one sentence and exit code 2.
#
# $venv/.installed is written last. An environment without it was interrupted, and is made anew. Its lines are the checkout,
# the interpreter and the extras; if the checkout was moved or Python was replaced, the environment is made anew as well.

# An exported CDPATH makes `cd` print, and may lead it elsewhere.
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P) || exit 2
extras=${1-}

setup_say() {
    echo "tailcall-audit: $*" >&2
}

setup_fail() {
    setup_say "$@"
    exit 2
}

# Prints what identifies the interpreter's file: it changes with an upgrade.
setup_interpreter() {
    stat -Lc '%d:%i:%s:%Y' "$venv/bin/python" 2>/dev/null
}

# True if $venv was made whole for this checkout, by the interpreter that is there now.
setup_is_whole() {
    local lines
    [ -x "$venv/bin/python" ] && [ -r "$venv/.installed" ] || return 1
    mapfile -t lines <"$venv/.installed"
    [ "${lines[0]-}" = "checkout $root" ] || return 1
    [ "${lines[1]-}" = "python $(setup_interpreter)" ] && return 0
    # A security update of the same version keeps the environment; another version does not find its packages.
    "$venv/bin/python" -I -c 'import pip' >/dev/null 2>&1 || return 1
    lines[1]="python $(setup_interpreter)"
    { printf '%s\n' "${lines[@]}" >"$venv/.installed"; } 2>/dev/null
    return 0
}

# True if $venv is whole and has these extras of this pyproject.toml.
setup_is_current() {
    setup_is_whole && grep -qxF -- "extras=$extras $setup_checksum" "$venv/.installed"
}

# Prints a folder for the environment of a read-only checkout; fails if there is none.
setup_cache() {
    local cache=${XDG_CACHE_HOME-}
    [[ $cache == /* ]] || cache=${HOME:+$HOME/.cache}
    [ -n "$cache" ] || return 1
    echo "$cache/tailcall-audit/venv-$(cksum <<<"$root" | tr ' ' -)"
}

# Prints a Python that is new enough; says what is missing and fails if there is none.
setup_python() {
    local name path old=''
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        path=$(type -P "$name") || continue
        if "$path" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            if "$path" -I -c 'import ensurepip, venv' >/dev/null 2>&1; then
                echo "$path"
                return 0
            fi
            setup_say "$path has no module venv: install the package $name-venv (Debian, Ubuntu: sudo apt install $name-venv)"
            return 1
        fi
        if [ -z "$old" ]; then
            old="; $path is $("$path" --version 2>/dev/null)" || old="; $path does not run"
        fi
    done
    setup_say "Python 3.11 or newer is needed${old:-, and PATH has none} (Debian, Ubuntu: sudo apt install python3 python3-venv)"
    return 1
}

# Shows on one line of a terminal what pip is at; reads its output.
setup_progress() {
    local line
    while IFS= read -r line; do
        case $line in
        *Collecting* | *Downloading* | *Building* | *Installing* | *Retrying*)
            [ -t 2 ] && printf '\r\033[K  %.70s' "${line#"${line%%[! ]*}"}" >&2
            ;;
        esac
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    return 0
}

# Installs the checkout with its extras; leaves pip's words in $venv.log.
setup_install() {
    # Without a network, pip's own number of tries takes minutes.
    (cd "$root" && PIP_RETRIES=${PIP_RETRIES-2} exec "$venv/bin/python" -I -m pip install \
        --disable-pip-version-check --no-input --progress-bar off -e ".$extras") 2>&1 | tee -- "$venv.log" | setup_progress
    return "${PIPESTATUS[0]}"
}

setup_explain() {
    if grep -qiE 'connection broken|Max retries|ConnectTimeout|name resolution|Network is unreachable' "$venv.log"; then
        setup_fail "the packages that it needs cannot be fetched: the package index cannot be reached." \
            "Run the same command again with a network; what pip says is in $venv.log"
    fi
    setup_fail "pip cannot install what it needs: $(grep -v '^ *$' "$venv.log" | grep -iE 'error' | tail -n 1)" \
        "(all that pip says is in $venv.log)"
}

# Makes $venv whole, with these extras. Called under the lock.
setup_make() {
    local python words kept=''
    if setup_is_whole; then
        kept=$(grep -vF -- "extras=$extras " "$venv/.installed")
        mv -- "$venv/.installed" "$venv/.before"
    else
        python=$(setup_python) || exit 2
        rm -rf -- "$venv"
        setup_say "making $venv (once; this takes a minute or two)"
        if ! words=$("$python" -I -m venv "$venv" 2>&1); then
            rm -rf -- "$venv" 2>/dev/null || true
            setup_fail "$python cannot make a virtual environment in $venv: ${words##*$'\n'}"
        fi
        kept="checkout $root"$'\n'"python $(setup_interpreter)"
    fi
    setup_say "installing the packages that pyproject.toml names"
    if ! setup_install; then
        # pip takes nothing away when it fails: an environment that was whole still is.
        if [ -e "$venv/.before" ]; then mv -- "$venv/.before" "$venv/.installed"; else rm -rf -- "$venv" 2>/dev/null || true; fi
        setup_explain
    fi
    printf '%s\n' "$kept" "extras=$extras $setup_checksum" >"$venv/.new"
    mv -- "$venv/.new" "$venv/.installed"
    rm -f -- "$venv/.before" "$venv.log"
    setup_say "done"
}

setup_all() {
    local lock
    if [ ! -w "$root" ] || { [ -e "$venv" ] && [ ! -w "$venv" ]; }; then
        venv=$(setup_cache) || setup_fail "$root is read-only, and HOME names no folder to use instead: set XDG_CACHE_HOME"
        setup_is_current && return
        mkdir -p -- "${venv%/*}" 2>/dev/null && [ -w "${venv%/*}" ] ||
            setup_fail "neither $root nor ${venv%/*} can be written: set XDG_CACHE_HOME to a folder of yours"
    fi
    trap 'setup_say "interrupted: run the same command again"; exit 130' INT TERM HUP
    exec {lock}>"$venv.lock" || exit 2
    # The lock ends with the last process that has the file open, pip included.
    if type -P flock >/dev/null && ! flock -n "$lock"; then
        setup_say "another process is setting up $venv: waiting for it"
        flock "$lock"
    fi
    setup_is_current || setup_make
    exec {lock}>&-
    trap - INT TERM HUP
}

venv="$root/.venv"
setup_checksum=$(cksum <"$root/pyproject.toml")
setup_is_current || setup_all
