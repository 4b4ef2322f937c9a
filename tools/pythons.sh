#!/bin/sh
# Run the engine's tests on each Python that is here, so that step keys are the same on all of them.
set -eu
cd "$(dirname "$0")/.."
ran=0
for version in 3.11 3.12 3.13; do
    # asked, not looked for: pyenv puts a shim on the path for Pythons that are not switched on
    python=$("python$version" -c 'import sys; print(sys.executable)' 2>/dev/null ||
        ls -d "$HOME"/.pyenv/versions/"$version".*/bin/python 2>/dev/null | tail -n 1 || true)
    if [ -z "$python" ]; then
        echo "Python $version: not on this machine, skipped"
        continue
    fi
    venv=.venv-pythons/$version
    if [ ! -e "$venv/ready" ] || [ requirements/dev.lock -nt "$venv/ready" ]; then
        "$python" -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
        touch "$venv/ready"
    fi
    echo "Python $version: $("$venv/bin/python" --version)"
    "$venv/bin/python" -m pytest -q -p no:cacheprovider tests/journal/engine
    ran=$((ran + 1))
done
echo "the engine's tests passed on $ran Pythons"
