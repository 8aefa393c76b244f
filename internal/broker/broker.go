// Package broker runs a real RabbitMQ: as a private node of an installed rabbitmq-server, which needs
// no root, or in a container of Docker Compose.
//
// [Up] finds or starts the broker for the lessons. A [Node] is a broker of one's own:
//
//	node, err := broker.Open(broker.Config{Dir: ".broker/mine"})
//	err = node.Start(ctx)
//	err = node.Kill(ctx)  // as kill -9 does
//	err = node.Start(ctx) // on the same ports, with its data
//	err = node.Destroy(ctx)
//
// A node outlives the process that started it. Another process finds it by its folder.
package broker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// A Kind is a way to run RabbitMQ.
type Kind string

const (
	Native   Kind = "native"   // an installed rabbitmq-server, run as a private node
	Compose  Kind = "compose"  // a container, as docker-compose.yml describes it
	External Kind = "external" // somebody else's: Up uses it, and nothing starts or stops it
)

// A Config describes a node.
type Config struct {
	// Dir is the node's folder: state, data and log. Its last element is the node's name, made of
	// lower-case letters, digits and "-".
	Dir string

	// Kind may be empty. Then it is Native if Root is set, if Dir has the data of a native node, or
	// if no Docker engine answers; otherwise Compose.
	Kind Kind

	// Zero stands for any free port.
	AMQPPort, ManagementPort int

	TLS   string   // a folder with ca.pem, cert.pem and key.pem: the node also speaks TLS with them
	Lines []string // more lines of rabbitmq.conf
	Root  string   // a root folder with the rabbitmq-server to run (see MakeRoot); Linux, as root

	// A native node can live in a network namespace, at an address there such as 10.0.0.1; Linux, as root.
	Namespace, Address string

	// Member is 0, or the number of this node in a cluster of three: see OpenCluster.
	Member int
}

// A Node is one RabbitMQ. Do not change its fields: they are saved for later processes.
type Node struct {
	Config
	TLSPort  int
	DistPort int // of a native node: what other nodes and rabbitmqctl connect to
	EPMDPort int // of a native node: the name server by which they find it
	PID      int // of a native node: its process, and the process group that it leads; 0: stopped

	Joined bool // it has joined a cluster, which it finds again by itself

	child *exec.Cmd // the native node, if this process started it
}

const stateFile = "node.json"

var (
	errPortTaken = errors.New("the port is taken")
	errStopped   = errors.New("RabbitMQ stopped while it started")
)

// Open returns the node in the folder config.Dir. If one is running there, Open ignores the rest of
// config.
func Open(config Config) (*Node, error) {
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, err
	}
	config.Dir = dir
	n := &Node{Config: config}
	if !regexp.MustCompile(`^[a-z][a-z0-9-]*$`).MatchString(n.Name()) {
		return nil, fmt.Errorf("a broker cannot be named %q: use lower-case letters, digits and -", n.Name())
	}
	text, err := os.ReadFile(n.file(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err == nil {
		err = json.Unmarshal(text, n)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: end that broker by hand, and remove the folder: %w", n.file(stateFile), err)
	}
	if !n.Running() {
		if config.Kind == "" && n.Kind == Native {
			config.Kind = Native // it has the data
		}
		n.Config = config
	}
	return n, nil
}

// save writes the state that Open reads.
func (n *Node) save() error {
	text, err := json.MarshalIndent(n, "", "  ")
	if err == nil {
		err = n.write(stateFile+".new", string(text))
	}
	if err != nil {
		return err
	}
	return os.Rename(n.file(stateFile+".new"), n.file(stateFile)) // so that nobody reads half a file
}

func (n *Node) file(name string) string { return filepath.Join(n.Dir, name) }

// Name returns the node's name, the last element of its folder.
func (n *Node) Name() string { return filepath.Base(n.Dir) }

// URL returns the node's AMQP URL, with guest's credentials and the default virtual host.
func (n *Node) URL() string { return guestURL(n.host(), n.AMQPPort) }

// ManagementURL returns the URL of the node's management API, with guest's credentials.
func (n *Node) ManagementURL() string {
	return fmt.Sprintf("http://guest:guest@%s:%d", n.host(), n.ManagementPort)
}

// host returns the name of the node's machine.
func (n *Node) host() string { return cmp.Or(n.Address, "localhost") }

// String says where the node's data is.
func (n *Node) String() string {
	if n.Kind == Compose {
		return "compose project " + n.project()
	}
	return fmt.Sprintf("native node %s, data in %s", n.NodeName(), n.Dir)
}

// Running says whether the node's process or container runs.
func (n *Node) Running() bool {
	return n.processRuns() || n.Kind == Compose && n.containerRuns()
}

// Log returns what the node has logged since its last start; in Compose, since its first one.
func (n *Node) Log() []byte {
	if n.Kind == Compose {
		log, _ := n.composeCommand(context.Background(), "logs", "--no-color", n.service()).Output()
		return log
	}
	log, _ := os.ReadFile(n.file("rabbitmq.log"))
	return log
}

// Start starts the node, with the data that it has, and waits until it answers (4 to 10 s). If no
// rabbitmq-server is installed, Start installs one with apt or brew. If Start fails, it leaves
// nothing running.
func (n *Node) Start(ctx context.Context) error {
	if n.Running() {
		return fmt.Errorf("start %s: it is running", n.Name())
	}
	kind, err := chooseKind(n.Config, func() bool { return engineAnswers(ctx) })
	if err != nil {
		return err
	}
	n.Kind = kind
	n.forget() // a native node that crashed has left its name server
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return err
	}
	given := *n
	for range 3 { // with other ports: another program may have taken one, or the last memory, meanwhile
		*n = given
		if err = n.startOnce(ctx); !errors.Is(err, errPortTaken) && !errors.Is(err, errStopped) {
			break
		}
	}
	return err
}

func chooseKind(c Config, engine func() bool) (Kind, error) {
	switch {
	case c.Kind == External:
		return "", errors.New("BROKER=external means a broker that somebody else starts: use compose or native here")
	case c.Kind == Native, c.Kind == "" && c.Root != "":
		return Native, nil
	case engine():
		return Compose, nil
	case c.Kind == Compose:
		return "", errors.New("no Docker engine with Compose answers: start Docker, or use BROKER=native")
	}
	return Native, nil
}

func (n *Node) startOnce(ctx context.Context) error {
	if err := n.takePorts(); err != nil {
		return err
	}
	var err error
	if n.Kind == Compose {
		err = n.startCompose(ctx)
	} else {
		err = n.startNative(ctx)
	}
	if err == nil {
		err = n.wait(ctx)
	}
	if err != nil {
		err = errors.Join(err, n.Kill(context.WithoutCancel(ctx)))
	}
	return err
}

// wait waits until the node answers.
func (n *Node) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute) // for a slow machine: 4 to 10 s are usual
	defer cancel()
	for {
		_, err := login(n.URL())
		console, _ := n.ask(n.ManagementPort, "GET / HTTP/1.0\r\n\r\n", 4)
		if err == nil && console == "HTTP" && (n.TLS == "" || n.portOpen(n.TLSPort)) {
			return nil
		}
		if !n.Running() {
			err := errStopped
			if regexp.MustCompile(`eaddrinuse|could_not_start_listener`).Match(n.Log()) {
				err = errPortTaken
			}
			return fmt.Errorf("start the broker: %w; look into the log of the %s", err, n)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("start the broker: RabbitMQ does not answer: %w; look into the log of the %s", ctx.Err(), n)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Stop shuts the node down in an orderly way (RabbitMQ 3.10 takes 6 s); its data stays. It kills a
// native node that has not ended within a minute. Stopping a node that does not run is no error.
func (n *Node) Stop(ctx context.Context) error {
	if n.Member > 0 { // down would stop the others, too
		return n.do(ctx, n.stopNative, "stop", n.service())
	}
	return n.do(ctx, n.stopNative, "down")
}

// Kill ends the node as kill -9 does; its data stays. Killing a node that does not run is no error.
func (n *Node) Kill(ctx context.Context) error { return n.do(ctx, n.killNative, "kill", n.service()) }

// Pause freezes the node: its connections stay open, and nothing answers on them.
func (n *Node) Pause(ctx context.Context) error {
	return n.do(ctx, n.freezeNative, "pause", n.service())
}

// Resume lets a frozen node go on.
func (n *Node) Resume(ctx context.Context) error {
	return n.do(ctx, func(context.Context) error { return n.signal(sigCont) }, "unpause", n.service())
}

// Destroy ends the node and removes its folder with all data. If the node is a container of a cluster,
// that ends the whole cluster.
func (n *Node) Destroy(ctx context.Context) error {
	if err := n.do(ctx, n.killNative, "down", "--volumes"); err != nil {
		return err
	}
	return os.RemoveAll(n.Dir)
}

// do calls a function for a native node, or a command of Compose for a container.
func (n *Node) do(ctx context.Context, native func(context.Context) error, compose ...string) error {
	if n.Kind == Compose {
		return n.compose(ctx, compose...)
	}
	return native(ctx)
}

// CtlCommand returns a command that runs rabbitmqctl on the node, without standard input.
func (n *Node) CtlCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	switch {
	case !n.Running() && n.Member > 0:
		return nil, fmt.Errorf("node %d of the cluster does not run: make up-cluster starts it", n.Member)
	case !n.Running():
		return nil, errors.New("no broker is running that was started here (make up); " +
			"for another one, run rabbitmqctl on its machine, as its administrator")
	case n.Kind == Compose:
		return n.composeCommand(ctx, append([]string{"exec", "-T", n.service(), "rabbitmqctl"}, args...)...), nil
	}
	return n.command(ctx, "rabbitmqctl", args...)
}

// Ctl runs rabbitmqctl on the node (about half a second) and returns its standard output. An error
// has all that rabbitmqctl printed.
func (n *Node) Ctl(ctx context.Context, args ...string) (string, error) {
	cmd, err := n.CtlCommand(ctx, args...)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("rabbitmqctl %q on %s: %w\n%s%s", args, n.Name(), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}
