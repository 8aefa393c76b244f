package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// FreePorts returns TCP ports that nobody listens on at the moment. They are from below the range of
// which the system takes ports for outgoing connections: a broker takes seconds to start, and a client
// could have the port by then.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		port := 23_000 + rand.IntN(6000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if tries == 1000 {
				return nil, fmt.Errorf("find a free port: %w", err)
			}
			continue
		}
		defer l.Close() // only now, so that all of them differ
		ports = append(ports, port)
	}
	return ports, nil
}

// takePorts chooses the ports that are not fixed yet, and checks the others.
func (n *Node) takePorts() error {
	free, err := FreePorts(5)
	if err != nil {
		return err
	}
	for i, port := range []*int{&n.AMQPPort, &n.ManagementPort, &n.TLSPort} {
		if *port == 0 {
			*port = free[i]
		} else if portOpen(*port) {
			return fmt.Errorf("%w: %d; choose others with AMQP_PORT and MANAGEMENT_PORT", ErrPortTaken, *port)
		}
	}
	if n.TLS == "" {
		n.TLSPort = 0
	}
	n.DistPort = free[3]
	// It stays as it was, for the sake of a cluster, unless something else is there by now.
	if n.EPMDPort == 0 || portOpen(n.EPMDPort) && !epmdAnswers(n.EPMDPort) {
		n.EPMDPort = free[4]
	}
	return nil
}

func portOpen(port int) bool {
	conn, err := net.Dial("tcp", fmt.Sprintf("localhost:%d", port))
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// ask sends a request to a server on this machine, and returns the first n bytes of its answer.
func ask(port int, request string, n int) (string, error) {
	conn, err := net.Dial("tcp", fmt.Sprintf("localhost:%d", port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	answer := make([]byte, n)
	read, err := io.ReadFull(conn, answer)
	return string(answer[:read]), err
}

func httpAnswers(port int) bool {
	answer, _ := ask(port, "GET / HTTP/1.0\r\n\r\n", 4)
	return answer == "HTTP"
}

// epmdAnswers asks for names: an epmd begins its answer with its own port.
func epmdAnswers(port int) bool {
	answer, _ := ask(port, "\x00\x01n", 4)
	return answer == string(binary.BigEndian.AppendUint32(nil, uint32(port)))
}

func guestURL(port int) string { return fmt.Sprintf("amqp://guest:guest@localhost:%d/", port) }

var (
	errNoBroker = errors.New("no broker answers")
	errRefused  = errors.New("the broker refuses the log-in")
)

// login logs in to a broker, and returns its version. The error is errRefused or errNoBroker, wrapped
// without a word of the URL.
func login(ctx context.Context, url string) (version string, err error) {
	// RabbitMQ hangs up three seconds after it was given a wrong password.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := amqp.DialConfig(url, amqp.Config{
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				context.AfterFunc(ctx, func() { conn.Close() })
			}
			return conn, err
		},
	})
	var refusal *amqp.Error
	switch {
	case err == nil:
		defer conn.Close()
		version, _ = conn.Properties["version"].(string)
		return version, nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%w within 10 s", errNoBroker)
	case errors.Is(err, amqp.ErrCredentials), errors.Is(err, amqp.ErrSASL):
		return "", fmt.Errorf("%w: the user name or the password is wrong", errRefused)
	case errors.Is(err, amqp.ErrVhost), errors.As(err, &refusal) && refusal.Code == amqp.NotAllowed:
		return "", fmt.Errorf("%w: this user may not use the virtual host, or there is no such one", errRefused)
	}
	return "", errNoBroker
}
