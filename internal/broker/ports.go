package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// FreePorts returns n TCP ports that nobody listens on at the moment, and that are not among taken. They are
// outside the range that the system gives to clients, so that no client takes one while a broker starts.
// They are multiples of four: a cluster also takes the two after one.
func FreePorts(n int, taken ...int) ([]int, error) {
	var ports []int
	for _, i := range rand.Perm(1500) {
		port := 23_000 + 4*i
		if slices.Contains(taken, port) {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			defer l.Close() // at the end, so that the ports differ
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no TCP ports from 23000 to 28999 are free: end what listens there")
}

// takePorts chooses the ports that are not fixed yet, and checks the others.
func (n *Node) takePorts() error {
	free, err := FreePorts(5, n.knownPorts()...)
	if err != nil {
		return err
	}
	for i, port := range []*int{&n.AMQPPort, &n.ManagementPort, &n.TLSPort} {
		if *port == 0 {
			*port = free[i]
		} else if n.portOpen(*port) {
			return fmt.Errorf("%w: %d; choose another, in every terminal: export AMQP_URL=amqp://guest:guest@localhost:5673/", errPortTaken, *port)
		}
	}
	if n.TLS == "" {
		n.TLSPort = 0
	}
	n.DistPort = free[3]
	// For the sake of a cluster, EPMDPort stays as it was, unless another program has the port by now.
	if n.EPMDPort == 0 || n.portOpen(n.EPMDPort) && !n.epmdAnswers() {
		n.EPMDPort = free[4]
	}
	return nil
}

// knownPorts returns the ports of all brokers in the folder that this one is in, and in copies of the
// repository there. One that is down now will listen on the same ports again: its clients know no others.
// A damaged state has no ports: Open tells that.
func (n *Node) knownPorts() (ports []int) {
	folder := filepath.Dir(n.Dir)
	states, _ := filepath.Glob(filepath.Join(folder, "*", stateFile))
	copies, _ := filepath.Glob(filepath.Join(folder, "*", "*", ".broker", "*", stateFile))
	for _, state := range slices.Concat(states, copies) {
		var other Node
		if text, err := os.ReadFile(state); err == nil && json.Unmarshal(text, &other) == nil {
			ports = append(ports, other.AMQPPort, other.ManagementPort, other.TLSPort, other.DistPort, other.EPMDPort)
		}
	}
	return ports
}

func (n *Node) portOpen(port int) bool {
	_, err := n.ask(port, "", 0)
	return err == nil
}

// ask sends a request to a server on the node's machine, and returns the first bytes of its answer.
func (n *Node) ask(port int, request string, bytes int) (string, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", n.host(), port), 3*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	answer := make([]byte, bytes)
	read, err := io.ReadFull(conn, answer)
	return string(answer[:read]), err
}

// epmdAnswers asks for the names of nodes: an epmd begins its answer with its own port.
func (n *Node) epmdAnswers() bool {
	answer, _ := n.ask(n.EPMDPort, "\x00\x01n", 4)
	return answer == string(binary.BigEndian.AppendUint32(nil, uint32(n.EPMDPort)))
}

func guestURL(host string, port int) string {
	return fmt.Sprintf("amqp://guest:guest@%s:%d/", host, port)
}

var (
	errNoBroker = errors.New("no broker answers")
	errRefused  = errors.New("the broker refuses the log-in: the user name, the password or the virtual host is wrong; " +
		"set AMQP_URL to the right ones, or to a free port of localhost")
)

// login logs in to a broker, within 10 s, and returns its version. The error is errRefused or
// errNoBroker; it repeats nothing of the URL.
func login(url string) (version string, err error) {
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(10 * time.Second)})
	var refusal *amqp.Error
	switch {
	case err == nil:
		defer conn.Close()
		version, _ = conn.Properties["version"].(string)
		return version, nil
	case errors.As(err, &refusal) && (refusal.Code == amqp.AccessRefused || refusal.Code == amqp.NotAllowed):
		return "", errRefused
	}
	return "", errNoBroker
}
