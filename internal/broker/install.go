package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// The package rabbitmq-server would start a server for the whole system. Nobody asked for that one.
const aptInstall = `
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi
apt-get update || echo "apt-get update failed; trying with the lists at hand"
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends rabbitmq-server
[ ! -d /run/systemd/system ] || systemctl disable --now rabbitmq-server || :`

// install installs rabbitmq-server, and writes the output of apt or brew into a file in logDir.
func install(ctx context.Context, logDir string) error {
	command := []string{"sh", "-euc", aptInstall}
	if os.Geteuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...) // -n: do not ask for a password
	}
	_, noApt := exec.LookPath("apt-get")
	_, noBrew := exec.LookPath("brew")
	switch {
	case noApt == nil && (os.Geteuid() == 0 || exec.Command("sudo", "-n", "true").Run() == nil):
	case noBrew == nil && os.Geteuid() != 0:
		command = []string{"env", "NONINTERACTIVE=1", "brew", "install", "rabbitmq"}
	default:
		return errors.New("no RabbitMQ here, and no way to install one: start Docker, or install rabbitmq-server, or set AMQP_URL")
	}
	log, err := os.Create(filepath.Join(logDir, "install.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintln(os.Stderr, "broker: no RabbitMQ and no Docker engine here: installing rabbitmq-server, which takes a minute")
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("install rabbitmq-server: %w; the output is in %s", err, log.Name())
	}
	return nil
}

// enterRoot runs a program in a root folder: ROOT HOME TLS PROGRAM ARG... It runs in a mount
// namespace of its own, so that the mounts vanish with the last process in it. The folders HOME and
// TLS keep their names in there.
const enterRoot = `
root=$1 home=$2 tls=$3
shift 3
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
for dir in "$home" ${tls:+"$tls"}; do
  mkdir -p "$root$dir"
  mount --bind "$dir" "$root$dir"
done
exec chroot "$root" "$@"`

// makeRoot builds a folder beside ROOT and renames it at the end, so that ROOT is never half built.
const makeRoot = `
version() { chroot "$1" dpkg-query -W -f '${db:Status-Status} ${Version}' rabbitmq-server 2>/dev/null | sed -n 's/^installed //p'; }
if [ -z "$(version "$1")" ]; then
  exec 3>&1 >"$1.log" 2>&1
  command -v debootstrap >/dev/null || {
    apt-get update || :
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends debootstrap debian-archive-keyring
  }
  rm -rf --one-file-system "$1.partial"
  mkdir -p "$1.partial"
  # The mirror that apt takes Debian from; without one, debootstrap knows its own.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' |
    grep -E '^(https?|file):' | sed -n '1s,/*$,,p')
  debootstrap --variant=minbase --include=rabbitmq-server forky "$1.partial" "$mirror" /usr/share/debootstrap/scripts/sid
  rm -rf "$1.partial"/var/cache/apt/archives/*.deb "$1.partial"/var/lib/apt/lists/*
  [ ! -d "$1" ] || rmdir "$1"
  mv "$1.partial" "$1"
  rm "$1.log"
  exec >&3
fi
[ -s "$1/etc/hosts" ] || echo '127.0.0.1 localhost' >"$1/etc/hosts" # nodes are named NAME@localhost
echo "RabbitMQ $(version "$1") in $1"`

// MakeRoot makes a root folder with RabbitMQ 4, for Config.Root, on a Debian whose own packages stop at
// RabbitMQ 3, and prints the version. It needs root, 400 MB and about a minute. It uses a folder again
// that it has made before.
func MakeRoot(ctx context.Context, dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can make a root folder and run programs in it")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-euc", makeRoot, "sh", dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make the root folder: %w; see %s.log", err, dir)
	}
	return nil
}
