#!/usr/bin/env bash
# Finds or installs what the tests in internal/test/interop need: Python with pika, Node with amqplib.
#
#   scripts/interop.sh check      exit 0 if they can run, otherwise say in one line why not
#   scripts/interop.sh install    install what is missing, with apt-get
#   scripts/interop.sh python     print the Python that has pika
#   scripts/interop.sh node       print the Node that runs amqplib
#   scripts/interop.sh java       print the Java that has RabbitMQ's client, with its class path: for the
#                                 benchmarks, which leave out whom they do not find
#
# check, install and node put amqplib, pinned by its lock file, into internal/test/interop/peers/node_modules.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=internal/test/interop/peers

python() { # Debian's own first: another python3 in PATH does not see Debian's python3-pika
  local python
  for python in /usr/bin/python3 python3; do
    ! "$python" -c 'import pika' 2>/dev/null || { echo "$python" && return; }
  done
  return 1
}

node_and_npm() { type -P node npm >/dev/null; } # -P: not the function

amqplib() {
  [ $peers/node_modules/.package-lock.json -nt $peers/package-lock.json ] ||
    npm ci --prefix $peers --ignore-scripts --no-audit --no-fund "$@" </dev/null
}

node() {
  node_and_npm && amqplib --silent >/dev/null &&
    command node -e "require('./$peers/node_modules/amqplib')" 2>/dev/null && echo node
}

java() { # Debian's librabbitmq-client-java, and a JDK, which runs a source file
  local jars=/usr/share/java
  [ -e $jars/amqp-client.jar ] && command -v javac >/dev/null &&
    echo "java -cp $jars/amqp-client.jar:$jars/slf4j-api.jar:$jars/slf4j-nop.jar"
}

missing() {
  echo "$1 (scripts/interop.sh install installs what is missing)" >&2
  exit 1
}

check() {
  python >/dev/null || missing 'no python3 that can import pika'
  node_and_npm || missing 'no node, or no npm'
  amqplib --silent || missing "npm ci could not install amqplib into $peers"
  node >/dev/null || missing 'this node cannot load amqplib, which wants node 18 or newer'
}

install() {
  local packages=() sudo=
  python >/dev/null || packages+=(python3-pika)
  node_and_npm || packages+=(nodejs npm)
  if [ ${#packages[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || { echo 'no apt-get here: install a python3 with pika, and node 18 or newer with npm' >&2 && exit 1; }
    [ "$(id -u)" = 0 ] || sudo='sudo -n'
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive \
      apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  fi
  amqplib
  check
}

case ${1:-} in
check | install | python | node | java) "$1" ;;
*)
  echo "usage: $0 check|install|python|node|java" >&2
  exit 2
  ;;
esac
