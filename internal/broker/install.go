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

// install installs rabbitmq-server, and writes what apt or brew say into a file in logDir.
func install(ctx context.Context, logDir string) error {
	command := []string{"sh", "-euc", aptInstall}
	if os.Geteuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...) // -n: it asks for no password
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
		return fmt.Errorf("install rabbitmq-server: %w; what was said: %s", err, log.Name())
	}
	return nil
}
