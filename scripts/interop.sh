#!/usr/bin/env bash
# What the tests in internal/test/interop need: Python with pika, and Node with amqplib.
#
#   scripts/interop.sh check      exit 0 if they can run, else say in one line why not
#   scripts/interop.sh install    install what is missing, with apt-get
#   scripts/interop.sh python     print the Python that has pika
#
# amqplib, pinned by its lock file, is put into internal/test/interop/peers/node_modules on the way.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=internal/test/interop/peers

python() { # Debian's own first: another in PATH would not see Debian's python3-pika
  local python
  for python in /usr/bin/python3 python3; do
    if "$python" -c 'import pika' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  return 1
}

node_and_npm() { command -v node >/dev/null && command -v npm >/dev/null; }

amqplib() {
  [ $peers/node_modules/.package-lock.json -nt $peers/package-lock.json ] ||
    npm ci --prefix $peers --ignore-scripts --no-audit --no-fund "$@" </dev/null
}

check() {
  local why=''
  if ! python >/dev/null; then
    why='no python3 that can import pika'
  elif ! node_and_npm; then
    why='no node, or no npm'
  elif ! amqplib --silent; then
    why="npm ci could not install amqplib into $peers"
  elif ! node -e "require('./$peers/node_modules/amqplib')" 2>/dev/null; then
    why='this node cannot load amqplib, which wants node 18 or newer'
  fi
  [ -n "$why" ] || return 0
  echo "$why (scripts/interop.sh install gets what is missing)" >&2
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
  local packages=()
  python >/dev/null || packages+=(python3-pika)
  node_and_npm || packages+=(nodejs npm)
  if [ ${#packages[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
      echo "no apt-get here: install a python3 with pika, and node 18 or newer with npm" >&2
      return 1
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  fi
  amqplib
  check
}

case ${1:-} in
check | install | python) "$1" ;;
*)
  echo "usage: $0 check|install|python" >&2
  exit 2
  ;;
esac
