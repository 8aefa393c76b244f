#!/usr/bin/env bash
# Makes a root folder with RabbitMQ 4 in it, on a Debian whose own packages stop at RabbitMQ 3:
#
#   scripts/rabbitmq4.sh DIR
#   RABBITMQ_ROOT=DIR scripts/broker.sh up
#
# A finished root is used again. It wants root, 400 MB and about a minute.
set -euo pipefail

suite=forky

die() {
  printf 'rabbitmq4: %s\n' "$*" >&2
  exit 1
}

[ $# -eq 1 ] || die "usage: $0 DIR"
[ "$(id -u)" = 0 ] || die "only root can make a root folder and run programs in it"
case $1 in /*) root=$1 ;; *) root=$PWD/$1 ;; esac

# The version that the package manager of the root has installed, or nothing.
version() {
  # shellcheck disable=SC2016 # dpkg-query expands it
  chroot "$root" dpkg-query -W -f '${db:Status-Status} ${Version}' rabbitmq-server 2>/dev/null |
    sed -n 's/^installed //p'
}

# The mirror that apt takes Debian from; without one, debootstrap knows its own.
mirror() {
  # shellcheck disable=SC2016 # apt expands it
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null |
    grep -E '^(https?|file):' | sed -n '1s,/*$,,p' || :
}

if [ -z "$(version)" ]; then
  if ! command -v debootstrap >/dev/null; then
    apt-get update -qq >&2 || :
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      debootstrap debian-archive-keyring >&2 || die "apt-get could not install debootstrap"
  fi
  # Built beside and then renamed, so that what is there under its name is whole.
  rm -rf --one-file-system "$root.partial"
  mkdir -p "$root.partial"
  debootstrap --variant=minbase --include=rabbitmq-server "$suite" "$root.partial" \
    "$(mirror)" /usr/share/debootstrap/scripts/sid >"$root.log" 2>&1 ||
    die "debootstrap failed; its log: $root.log"
  rm -rf "$root.log" "$root.partial"/var/cache/apt/archives/*.deb "$root.partial"/var/lib/apt/lists/*
  [ ! -d "$root" ] || rmdir "$root" || die "$root is in the way"
  mv "$root.partial" "$root"
fi
[ -s "$root/etc/hosts" ] || echo '127.0.0.1 localhost' >"$root/etc/hosts" # nodes are named NAME@localhost
printf 'RabbitMQ %s in %s\n' "$(version)" "$root"
