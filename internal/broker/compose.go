package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func (n *Node) project() string { return "rabbitmq-" + n.Name() }

// engineAnswers says whether a Docker engine with Compose is there to be used.
func engineAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "info").Run() == nil &&
		exec.CommandContext(ctx, composeProgram()[0], append(composeProgram()[1:], "version")...).Run() == nil
}

// composeProgram returns how Compose is called: version 2 is a plugin, version 1 a program of its own.
func composeProgram() []string {
	if exec.Command("docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	return []string{"docker-compose"}
}

func (n *Node) composeCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	top, err := repository()
	if err != nil {
		return nil, err
	}
	call := append(composeProgram(), "-p", n.project(), "-f", filepath.Join(top, "docker-compose.yml"))
	if _, err := os.Stat(n.file(overrideFile)); err == nil {
		call = append(call, "-f", n.file(overrideFile))
	}
	call = append(call, args...)
	cmd := exec.CommandContext(ctx, call[0], call[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("AMQP_PORT=%d", n.AMQPPort), fmt.Sprintf("MANAGEMENT_PORT=%d", n.ManagementPort))
	return cmd, nil
}

func (n *Node) composeOutput(ctx context.Context, args ...string) ([]byte, error) {
	cmd, err := n.composeCommand(ctx, args...)
	if err != nil {
		return nil, err
	}
	return cmd.Output()
}

// compose runs Compose, whose own lines the user may see.
func (n *Node) compose(ctx context.Context, args ...string) error {
	cmd, err := n.composeCommand(ctx, args...)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("docker compose %s: %w; BROKER=native runs a rabbitmq-server without Docker", args[0], err)
	}
	return nil
}

func (n *Node) startCompose(ctx context.Context) error {
	if err := n.writeOverride(); err != nil {
		return err
	}
	if err := n.save(); err != nil { // before it starts, so that it can be removed whatever happens
		return err
	}
	return n.compose(ctx, "up", "-d")
}

const overrideFile = "compose.json" // JSON is YAML, too

// writeOverride writes down what this node has beside docker-compose.yml.
func (n *Node) writeOverride() error {
	lines := n.moreLines()
	if len(lines) == 0 {
		return nil
	}
	volumes := []string{n.file("more.conf") + ":/etc/rabbitmq/conf.d/90-more.conf:ro"}
	service := map[string]any{}
	if n.TLS != "" {
		lines = append(lines, "listeners.ssl.default = 5671")
		volumes = append(volumes, n.TLS+":"+n.TLS+":ro")
		service["ports"] = []string{fmt.Sprintf("127.0.0.1:%d:5671", n.TLSPort)}
	}
	service["volumes"] = volumes
	if err := n.write("more.conf", lines...); err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{"services": map[string]any{"rabbitmq": service}})
	if err != nil {
		return err
	}
	return n.write(overrideFile, string(text))
}

func (n *Node) containerRuns() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	services, _ := n.composeOutput(ctx, "ps", "--services", "--filter", "status=running")
	return strings.TrimSpace(string(services)) != ""
}
