#!/usr/bin/env bash
# Installs what the tests like to have from Debian; called by `make peers`.  Never fails: a test whose peer is
# missing says so and is skipped.
set -uo pipefail

declare -A package=([mosquitto]=mosquitto [systemd-analyze]=systemd [c++]=g++ [strace]=strace [socat]=socat)
missing=()
for command in "${!package[@]}"; do
  command -v "$command" /usr/sbin/"$command" >/dev/null || missing+=("${package[$command]}")
done

if ((${#missing[@]} == 0)); then
  echo "peers: all there: ${package[*]}"
elif ((EUID != 0)); then
  echo "peers: NOT INSTALLED, for this needs root: sudo apt-get install ${missing[*]}"
elif ! command -v apt-get >/dev/null; then
  echo "peers: NOT INSTALLED, for there is no apt-get here: ${missing[*]}"
else
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || echo "peers: apt-get update FAILED, going on with the old package lists"
  for name in "${missing[@]}"; do # one by one, so that one failure costs one package
    if apt-get install -qq -y --no-install-recommends "$name" >/dev/null; then
      echo "peers: installed $name"
    else
      echo "peers: NOT INSTALLED, apt-get failed: $name; its tests will be skipped"
    fi
  done
fi
exit 0
