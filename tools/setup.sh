#!/bin/sh
# Make .venv with the first usable Python and install Farthing there: tools/setup.sh [EXTRAS]
#
# EXTRAS: as pip writes them, e.g. `test` or `dev,postgres`. Versions come from constraints.txt.
# An existing .venv that works is kept, so the second run takes seconds.
set -eu
cd "$(dirname "$0")/.."
extras=${1:-}
log=${TMPDIR:-/tmp}/farthing-setup-$$.log
trap 'rm -f "$log"' EXIT

say() { printf '%s\n' "$*" >&2; }

is_usable() { # a Python that runs (a shim may not) and is neither too old nor too new
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1
}

first_python() {
    for name in ${PYTHON:-} python3.14 python3.13 python3.12 python3.11 python3 python; do
        if is_usable "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
}

make_venv() {
    python=$(first_python)
    if [ -n "$python" ]; then
        "$python" -m venv --clear .venv >"$log" 2>&1 && return
        # Debian ships Python without ensurepip; two other tools can make the same folder.
        "$python" -m virtualenv --clear .venv >>"$log" 2>&1 && return
    fi
    if command -v uv >/dev/null 2>&1; then
        uv venv --clear --seed --python "${python:-3.12}" .venv >>"$log" 2>&1 && return
    fi
    rm -rf .venv
    if [ -z "$python" ]; then
        say "Farthing needs Python 3.11 to 3.14, and none was found on PATH."
        say "Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python),"
        say "or name it: make PYTHON=/path/to/python3.12 ..."
    else
        cat "$log" >&2
        say "$python cannot make a virtual environment."
        say "On Debian and Ubuntu: apt install python3-venv. Elsewhere: pip install virtualenv, or install uv."
    fi
    exit 1
}

if ! { is_usable .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    say "Making .venv ..."
    make_venv
fi

say "Installing farthing${extras:+[$extras]} ..."
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --editable ".${extras:+[$extras]}" --constraint constraints.txt >"$log" 2>&1; then
    cat "$log" >&2
    say "The installation failed; pip's own words are above. Behind a proxy, set HTTPS_PROXY."
    exit 1
fi
