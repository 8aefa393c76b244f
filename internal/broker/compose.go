package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// engineAnswers reports whether a Docker engine with Compose answers.
func engineAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := exec.LookPath("docker-compose")
	hasV1 := err == nil
	return (hasComposeV2() || hasV1) && exec.CommandContext(ctx, "docker", "info").Run() == nil
}

// hasComposeV2 reports whether Compose is Docker's plugin. Version 1 is the program docker-compose.
func hasComposeV2() bool { return exec.Command("docker", "compose", "version").Run() == nil }

func (n *Node) composeCommand(ctx context.Context, args ...string) *exec.Cmd {
	top, _ := repository() // FromEnv reports the error; without it Compose says which file it lacks
	call := []string{"docker-compose"}
	if hasComposeV2() {
		call = []string{"docker", "compose"}
	}
	call = append(call, "-p", n.project(), "-f", filepath.Join(top, "docker-compose.yml"))
	number := ""
	if n.Member > 0 {
		call, number = append(call, "--profile", "cluster"), fmt.Sprintf("_%d", n.Member)
	}
	if _, err := os.Stat(n.file(overrideFile)); err == nil {
		call = append(call, "-f", n.file(overrideFile))
	}
	cmd := exec.CommandContext(ctx, call[0], append(call[1:], args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("AMQP_PORT%s=%d", number, n.AMQPPort), fmt.Sprintf("MANAGEMENT_PORT%s=%d", number, n.ManagementPort))
	return cmd
}

// project returns the name of the node's Compose project. The nodes of a cluster share one.
func (n *Node) project() string {
	return strings.TrimSuffix("rabbitmq-"+n.Name(), fmt.Sprintf("-%d", n.Member))
}

// service returns the node's name in docker-compose.yml.
func (n *Node) service() string {
	if n.Member > 0 {
		return fmt.Sprintf("rabbit%d", n.Member)
	}
	return "rabbitmq"
}

// compose runs Compose. The user may see the lines that it prints.
func (n *Node) compose(ctx context.Context, args ...string) error {
	cmd := n.composeCommand(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("docker compose %s: %w; BROKER=native runs a rabbitmq-server without Docker", args[0], err)
	}
	return nil
}

func (n *Node) startCompose(ctx context.Context) error {
	// Saved before it starts, so that it can be removed whatever happens.
	if err := errors.Join(n.writeOverride(), n.save()); err != nil {
		return err
	}
	return n.compose(ctx, "up", "-d", n.service())
}

const overrideFile = "compose.json" // JSON is YAML, too

// writeOverride writes a file with what this node has in addition to docker-compose.yml.
func (n *Node) writeOverride() error {
	lines := n.moreLines()
	if len(lines) == 0 {
		return os.RemoveAll(n.file(overrideFile)) // of an earlier start
	}
	volumes := []string{n.file("more.conf") + ":/etc/rabbitmq/conf.d/90-more.conf:ro"}
	ports := []string{}
	if n.TLS != "" {
		lines = append(lines, "listeners.ssl.default = 5671")
		volumes = append(volumes, n.TLS+":"+n.TLS+":ro")
		ports = append(ports, fmt.Sprintf("127.0.0.1:%d:5671", n.TLSPort))
	}
	service := map[string]any{"volumes": volumes, "ports": ports}
	text, err := json.Marshal(map[string]any{"services": map[string]any{n.service(): service}})
	return errors.Join(err, n.write("more.conf", lines...), n.write(overrideFile, string(text)))
}

func (n *Node) containerRuns() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	services, _ := n.composeCommand(ctx, "ps", "--services", "--filter", "status=running").Output()
	return slices.Contains(strings.Fields(string(services)), n.service())
}
