package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sbin returns the folder with the server's own scripts, as seen from within root. The scripts in
// /usr/sbin need to be run as root.
func sbin(root string) (string, error) {
	dirs := []string{"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "/usr/local/opt/rabbitmq/sbin", "/opt/homebrew/opt/rabbitmq/sbin"}
	if path, err := exec.LookPath("rabbitmq-server"); err == nil && root == "" {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, dir := range dirs {
		if found, _ := filepath.Glob(root + dir + "/rabbitmq-env"); len(found) > 0 {
			return strings.TrimPrefix(filepath.Dir(found[len(found)-1]), root), nil
		}
	}
	if root != "" {
		return "", fmt.Errorf("no rabbitmq-server in the root folder %s: make one with go run ./scripts/broker root DIR", root)
	}
	return "", errors.New("no rabbitmq-server is installed here: make up installs one where it can")
}

// command returns a command that runs one of RabbitMQ's programs in this node's environment.
func (n *Node) command(ctx context.Context, program string, args ...string) (*exec.Cmd, error) {
	dir, err := sbin(n.Root)
	if err != nil {
		return nil, err
	}
	args = append([]string{dir + "/" + program}, args...)
	if n.Root != "" {
		if os.Geteuid() != 0 {
			return nil, errors.New("only root can run programs in a root folder: unset RABBITMQ_ROOT, or become root")
		}
		args = append([]string{"unshare", "--mount", "--propagation", "private",
			"sh", "-euc", enterRoot, "sh", n.Root, filepath.Dir(n.Dir), n.TLS}, args...)
	}
	if n.Namespace != "" {
		args = append([]string{"ip", "netns", "exec", n.Namespace}, args...)
	}
	// Erlang makes a table as long as the limit of open files, which in a container can be a billion.
	const limit = `ulimit -S -n 65536 2>/dev/null || ulimit -S -n "$(ulimit -H -n)" 2>/dev/null || :
exec "$@"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", limit, "sh"}, args...)...)
	cmd.WaitDelay = time.Second
	cmd.Dir = n.Dir
	address := cmp.Or(n.Address, "127.0.0.1")
	only := "-kernel inet_dist_use_interface {" + strings.ReplaceAll(address, ".", ",") + "}"
	cmd.Env = append(os.Environ(),
		"HOME="+n.Dir, // Erlang keeps its cookie there
		"RABBITMQ_NODENAME="+n.NodeName(),
		"RABBITMQ_CONF_ENV_FILE="+n.file("rabbitmq-env.conf"),
		"RABBITMQ_CONFIG_FILE="+n.file("rabbitmq.conf"),
		"RABBITMQ_CONFIG_FILES="+n.file("conf.d"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+n.file("advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+n.file("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+n.file("data"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+n.file("data/config"),
		"RABBITMQ_SCHEMA_DIR="+n.file("data/schema"),
		"RABBITMQ_LOG_BASE="+n.Dir,
		"RABBITMQ_LOGS=-", // to standard output
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", n.DistPort),
		fmt.Sprintf("ERL_EPMD_PORT=%d", n.EPMDPort),
		"ERL_EPMD_ADDRESS="+address,
		"ERL_INETRC="+n.file("inetrc"),
		// As in docker-compose.yml, figures are at most a second old.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+only+" -rabbit collect_statistics_interval 1000 quorum_tick_interval 1000",
		"RABBITMQ_CTL_ERL_ARGS="+only,
		fmt.Sprintf("RABBITMQ_USE_LONGNAME=%v", n.Address != ""), // an address has dots
		"RUNNING_UNDER_SYSTEMD=true")                             // the script then becomes the server instead of waiting for it
	return cmd, nil
}

func (n *Node) startNative(ctx context.Context) error {
	if runtime.GOOS == "windows" {
		return errors.New("on Windows a broker runs in Docker only: start Docker Desktop, or set AMQP_URL")
	}
	if _, err := sbin(n.Root); err != nil && n.Root == "" {
		if err := install(ctx, filepath.Dir(n.Dir)); err != nil {
			return err
		}
	}
	log, err := os.Create(n.file("rabbitmq.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// RabbitMQ ignores -broker. It tells this process from one that gets its number later.
	cmd, err := n.command(context.Background(), "rabbitmq-server", "-broker", n.Dir)
	if err := errors.Join(err,
		os.MkdirAll(n.file("data"), 0o755),
		n.write("enabled_plugins", "[rabbitmq_management]."),
		n.write("inetrc", inetrc()),
		n.write("rabbitmq.conf", n.conf()...),
	); err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	ownGroup(cmd) // so that Ctrl+C does not reach the broker
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start rabbitmq-server: %w", err)
	}
	n.child, n.PID = cmd, cmd.Process.Pid
	return n.save()
}

func (n *Node) write(name string, lines ...string) error {
	return os.WriteFile(n.file(name), []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// inetrc tells Erlang this machine's own name. RabbitMQ looks it up for each connection, which may
// take five seconds if it must ask a DNS server.
func inetrc() string {
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(host, ".")
	return fmt.Sprintf("{lookup, [file, native]}.\n{host, {127,0,0,1}, [%q]}.", host)
}

func (n *Node) conf() []string {
	address := cmp.Or(n.Address, "127.0.0.1")
	lines := append(n.moreLines(),
		fmt.Sprintf("listeners.tcp.local = %s:%d", address, n.AMQPPort),
		"management.tcp.ip = "+address,
		fmt.Sprintf("management.tcp.port = %d", n.ManagementPort))
	if n.TLS != "" {
		lines = append(lines, fmt.Sprintf("listeners.ssl.local = 127.0.0.1:%d", n.TLSPort))
	}
	return lines
}

// moreLines are the lines of rabbitmq.conf that do not depend on the kind.
func (n *Node) moreLines() []string {
	lines := slices.Clone(n.Lines)
	if n.TLS != "" {
		lines = append(lines,
			"ssl_options.cacertfile = "+n.TLS+"/ca.pem",
			"ssl_options.certfile = "+n.TLS+"/cert.pem",
			"ssl_options.keyfile = "+n.TLS+"/key.pem")
	}
	return lines
}

// processRuns reports whether PID is still this node, and not a process that got its number later.
func (n *Node) processRuns() bool {
	deadline := time.Now().Add(10 * time.Second)
	for n.PID != 0 && time.Now().Before(deadline) {
		if command := commandLine(n.PID); command != "" {
			return strings.Contains(command+" ", " -broker "+n.Dir+" ")
		}
		if state := processState(n.PID); state == "" || state == "Z" { // gone, or ended and not waited for
			return false
		}
		time.Sleep(10 * time.Millisecond) // it is just becoming another program, which a busy machine makes long
	}
	return false
}

func commandLine(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil && runtime.GOOS != "linux" {
		line, _ = exec.Command("ps", "-ww", "-o", "command=", "-p", fmt.Sprint(pid)).Output()
	}
	return strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
}

// signal sends a signal to the node's whole process group.
func (n *Node) signal(signal syscall.Signal) error {
	if !n.processRuns() {
		return fmt.Errorf("%s is not running", n.Name())
	}
	return kill(-n.PID, signal)
}

// freezeNative returns when the node stands still. On a busy machine that is not at once: the signal
// takes effect when one of the node's threads gets to run.
func (n *Node) freezeNative(ctx context.Context) error {
	err := n.signal(sigStop)
	for err == nil && ctx.Err() == nil && !slices.Contains([]string{"T", ""}, processState(n.PID)) {
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(err, ctx.Err())
}

// processState returns a process's state as one letter, T if it is stopped and Z if it has ended. It
// returns nothing if there is no such process, or on a system that does not say.
func processState(pid int) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return state[:min(1, len(state))]
}

func (n *Node) stopNative(ctx context.Context) error {
	if n.processRuns() {
		// SIGTERM goes to the node alone, which ends its own processes. SIGCONT: a frozen node could not end.
		if err := errors.Join(kill(n.PID, syscall.SIGTERM), n.signal(sigCont)); err != nil {
			return err
		}
		n.awaitEnd(ctx, time.Minute)
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the end of %s: %w", n.Name(), ctx.Err())
		}
	}
	return n.killNative(ctx)
}

func (n *Node) killNative(ctx context.Context) error {
	if n.processRuns() {
		if err := n.signal(syscall.SIGKILL); err != nil {
			return err
		}
		n.awaitEnd(context.WithoutCancel(ctx), 10*time.Second)
		if n.processRuns() {
			return fmt.Errorf("%s (process %d) does not end", n.Name(), n.PID)
		}
	}
	return n.forget()
}

func (n *Node) awaitEnd(ctx context.Context, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for ctx.Err() == nil && n.processRuns() {
		time.Sleep(50 * time.Millisecond)
	}
}

// forget clears away what is left of a node that has ended.
func (n *Node) forget() error {
	if n.child != nil {
		n.child.Wait() // it returns the signal as an error
		n.child = nil
	}
	if n.PID == 0 {
		return nil
	}
	n.stopEPMD()
	n.PID = 0
	return n.save()
}

// stopEPMD ends the node's name server, which outlives the node. The name server refuses to end while
// it knows a node: ours for a moment, others of a cluster as long as they run. It never ends for somebody
// outside of its network namespace: whoever made that ends it.
func (n *Node) stopEPMD() {
	if n.Namespace != "" {
		return
	}
	passing := regexp.MustCompile(`name (rabbitmqcli\S*|` + n.Name() + `) at port`)
	for range 50 {
		n.ask(n.EPMDPort, "\x00\x01k", 2)
		names, _ := n.ask(n.EPMDPort, "\x00\x01n", 4096)
		if names == "" || strings.Contains(passing.ReplaceAllString(names, ""), " at port") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
