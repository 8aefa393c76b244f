package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Wish is what the user wants of the broker for the lessons.
type Wish struct {
	Config
	URL string // AMQP_URL
}

// FromEnv reads a Wish from the environment:
//
//	AMQP_URL           the broker that the programs use
//	BROKER             compose, native or external; not set: whatever is there
//	AMQP_PORT          5672, or the port that AMQP_URL names
//	MANAGEMENT_PORT    AMQP_PORT + 10000
//	RABBITMQ_ROOT      a root folder with the rabbitmq-server to run (see MakeRoot)
//	BROKER_CONFIG      a file with more lines of rabbitmq.conf
//
// The broker's folder is .broker/tutorial.
func FromEnv() (w Wish, err error) {
	top, err := repository()
	if err != nil {
		return w, err
	}
	w.URL = os.Getenv("AMQP_URL")
	w.Dir = filepath.Join(top, ".broker", "tutorial")
	w.Kind = Kind(os.Getenv("BROKER"))
	if !slices.Contains([]Kind{"", Compose, Native, External}, w.Kind) {
		return w, fmt.Errorf("BROKER is %q: set it to compose, native or external, or unset it", w.Kind)
	}
	for name, port := range map[string]*int{"AMQP_PORT": &w.AMQPPort, "MANAGEMENT_PORT": &w.ManagementPort} {
		if value := os.Getenv(name); value != "" {
			if *port, err = strconv.Atoi(value); err != nil || *port < 1 || *port > 65535 {
				return w, fmt.Errorf("%s is %q: set it to a port from 1 to 65535, or unset it", name, value)
			}
		}
	}
	if root := os.Getenv("RABBITMQ_ROOT"); root != "" {
		w.Root, _ = filepath.Abs(root) // fails only without a working directory, which repository has found
	}
	if file := os.Getenv("BROKER_CONFIG"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return w, fmt.Errorf("BROKER_CONFIG: %w", err)
		}
		w.Lines = strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	return w, nil
}

// repository returns the folder of this repository, above the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "docker-compose.yml")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no docker-compose.yml above the working directory: go to the folder of the lessons")
}

// A Server is a RabbitMQ that answers.
type Server struct {
	URL           string
	ManagementURL string // "" for a broker that Up did not start
	Told          string // which broker it is, for the user
}

// Up finds or starts the broker for the lessons, the first of these:
//
//   - the broker that AMQP_URL names, or of several the first that answers;
//   - one that already answers on localhost:5672 (or AMQP_PORT);
//   - one that it starts there: with Docker Compose if an engine answers, otherwise with
//     rabbitmq-server, which it installs with apt or brew if need be.
//
// If Up returns no error, it has logged in to that broker.
func Up(ctx context.Context, w Wish) (Server, error) {
	if strings.Contains(w.URL, ",") {
		return w.firstThatAnswers()
	}
	at, err := w.target(w.url())
	if err != nil {
		return Server{}, err
	}
	node, err := Open(w.Config)
	if err != nil {
		return Server{}, err
	}
	runs := node.Running()
	if runs && (w.URL == "" || at.local && at.port == node.AMQPPort) {
		if w.Kind != "" && w.Kind != External && w.Kind != node.Kind {
			return Server{}, fmt.Errorf("a %s broker named %s is running: stop it first (make down)", node.Kind, node.Name())
		}
		if err := node.wait(ctx); err != nil { // another process may be starting it
			return Server{}, err
		}
		return node.loggedIn(cmp.Or(w.URL, node.URL()), "already up:")
	}
	if w.Kind == "" || w.Kind == External {
		_, err := login(at.url)
		switch {
		case err == nil:
			return Server{URL: at.url, Told: fmt.Sprintf("using the broker that already answers at %s, and leaving it as it is", at)}, nil
		case errors.Is(err, errRefused):
			return Server{}, fmt.Errorf("%s: %w", at, err)
		case w.Kind == External:
			return Server{}, fmt.Errorf("BROKER=external, but %w at %s: start it, or unset BROKER", err, at)
		}
	}
	switch {
	case !at.startable:
		return Server{}, fmt.Errorf("no broker was found at %s, and none can be started there: make up starts only "+
			"amqp://guest:guest@localhost:PORT/, with AMQP_PORT the same or not set. Start it by hand, or change or unset AMQP_URL", at)
	case runs:
		return Server{}, fmt.Errorf("AMQP_URL names %s, but make up has started a broker on localhost:%d: "+
			"set AMQP_URL to that port, or stop the broker first (make down)", at, node.AMQPPort)
	}
	node.AMQPPort = at.port
	node.ManagementPort = cmp.Or(node.ManagementPort, at.port+10_000) // as 15672 to 5672
	if node.ManagementPort > 65535 {
		return Server{}, fmt.Errorf("there is no port %d for the console: set MANAGEMENT_PORT to another", node.ManagementPort)
	}
	if err := node.Start(ctx); err != nil {
		return Server{}, err
	}
	s, err := node.loggedIn(node.URL(), "started")
	if w.URL == "" && at.port != 5672 {
		s.Told += fmt.Sprintf("; for the programs, set AMQP_URL to port %d", at.port)
	}
	return s, err
}

// firstThatAnswers looks for one of the brokers that AMQP_URL names.
func (w Wish) firstThatAnswers() (Server, error) {
	var all []target
	for i, url := range strings.Split(w.URL, ",") {
		at, err := w.target(url)
		if err != nil {
			return Server{}, fmt.Errorf("broker %d in AMQP_URL: %w", i+1, err)
		}
		all = append(all, at)
	}
	for _, at := range all {
		if _, err := login(at.url); err == nil {
			return Server{URL: at.url, Told: fmt.Sprintf("using the broker that already answers at %s, one of %d that AMQP_URL names", at, len(all))}, nil
		}
	}
	return Server{}, fmt.Errorf("none of the %d brokers that AMQP_URL names lets us in: make up-cluster starts a cluster on this machine; or unset AMQP_URL", len(all))
}

// loggedIn returns the node as a Server, if it lets the URL's user in.
func (n *Node) loggedIn(url, what string) (Server, error) {
	version, err := login(url)
	if err != nil {
		return Server{}, fmt.Errorf("localhost:%d: %w", n.AMQPPort, err)
	}
	return Server{url, n.ManagementURL(), fmt.Sprintf("%s RabbitMQ %s on localhost:%d, console http://localhost:%d (%s)",
		what, version, n.AMQPPort, n.ManagementPort, n)}, nil
}

// A target is where the programs will look for the broker.
type target struct {
	url       string
	host      string
	port      int
	local     bool // on this machine
	startable bool // as a broker that make up starts
}

// String returns the address only: the rest of the URL may hold a password.
func (t target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

// url returns AMQP_URL, or the one that the programs use without it.
func (w Wish) url() string { return cmp.Or(w.URL, guestURL("localhost", cmp.Or(w.AMQPPort, 5672))) }

// plain matches a URL without an "@" after the end of the host. An unescaped "/", "?" or "#" in the password
// would end the host early, and parts of the password would be printed as host or port.
var plain = regexp.MustCompile(`(?i)^amqps?://[^/?#\s]*([/?][^@#\s]*)?$`)

func (w Wish) target(url string) (target, error) {
	uri, err := amqp.ParseURI(url)
	if err != nil || !plain.MatchString(url) || uri.Port < 1 || uri.Port > 65535 {
		return target{}, errors.New("AMQP_URL is not an AMQP URL such as amqp://USER:PASSWORD@HOST:PORT/, " +
			"with special characters in the user name and the password percent-encoded: mend it, or unset it")
	}
	local := uri.Host == "localhost" || uri.Host == "127.0.0.1"
	startable := local && uri.Scheme == "amqp" && uri.Username == "guest" && uri.Password == "guest" && uri.Vhost == "/" &&
		(w.AMQPPort == 0 || w.AMQPPort == uri.Port)
	return target{url, uri.Host, uri.Port, local, startable}, nil
}
