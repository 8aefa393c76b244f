package amqpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// dialTimeout bounds everything from the name look-up to connection.open-ok.
	dialTimeout = 5 * time.Second

	// A broker that refuses a log-in without a word hangs up three seconds later.
	refusalTime = 2 * time.Second
)

// ErrURL is wrapped in the error for a broker address that is not an AMQP URI.
// See https://www.rabbitmq.com/docs/uri-spec.
var ErrURL = errors.New("not an AMQP URL")

// A DialError says that no connection to the broker could be opened.
type DialError struct {
	Addr  string // the broker's URL without user name, password and parameters
	Cause error
}

func (e *DialError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Addr, e.Cause) }
func (e *DialError) Unwrap() error { return e.Cause }

// parse returns what rawURL says, and its address: the part that may be printed, without
// user name, password and parameters. A text that is not an AMQP URL gives an [ErrURL],
// which repeats nothing of the text either.
func parse(rawURL string) (address string, uri amqp.URI, err error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || strings.ContainsAny(rawURL, " \t\r\n"):
		return "", uri, fmt.Errorf("%w: it cannot be parsed", ErrURL)
	case u.Scheme != "amqp" && u.Scheme != "amqps":
		return "", uri, fmt.Errorf("%w: it does not start with amqp:// or amqps://", ErrURL)
	case u.Opaque != "" || u.Fragment != "" || strings.Contains(u.EscapedPath()+u.RawQuery, "@"):
		// An unescaped "/", "?" or "#" in the password ends the host there: a part of
		// the password would be taken for the host, the port or the virtual host, and
		// be printed. The "@" that follows tells.
		return "", uri, fmt.Errorf("%w: a special character in the user name or the password is not percent-encoded", ErrURL)
	}
	if uri, err = amqp.ParseURI(rawURL); err != nil {
		return "", uri, fmt.Errorf("%w: the port, or a parameter after the question mark, has no valid value", ErrURL)
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath(), uri, nil
}

var errNoAnswer = fmt.Errorf("no answer within %v", dialTimeout)

// dial opens a connection within five seconds, or gives up when ctx ends. The socket
// lets the caller cut a connection whose broker no longer answers.
func dial(ctx context.Context, rawURL string) (*amqp.Connection, *socket, error) {
	addr, uri, err := parse(rawURL)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)))
	if err != nil {
		return nil, nil, &DialError{addr, cmp.Or(context.Cause(ctx), err)}
	}
	sock, connected := &socket{Conn: c}, time.Now()
	stop := context.AfterFunc(ctx, sock.cut)

	// The console lists connections under this name.
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(fmt.Sprintf("%s (%d)", programName(), os.Getpid()))
	conn, err := amqp.DialConfig(rawURL, amqp.Config{
		Properties: properties,
		Dial:       func(string, string) (net.Conn, error) { return sock, nil },
	})
	if stop() && err == nil {
		return conn, sock, nil
	}
	sock.cut()
	// amqp091-go takes any connection that ends during the log-in for a refused password
	// or virtual host.
	guess := errors.Is(err, amqp.ErrCredentials) || errors.Is(err, amqp.ErrVhost)
	if guess && time.Since(connected) < refusalTime {
		err = errors.New("the connection was cut off during the log-in")
	}
	return nil, nil, &DialError{addr, cmp.Or(context.Cause(ctx), err)}
}

// programName names the connection and the consumers of this process.
func programName() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") }

// socket is a network connection that closes itself when a read or a write fails.
//
// When heartbeats stay away, amqp091-go fails the read and then shuts its channels
// down, for which it needs each channel's lock. A publisher that is stuck in a write
// to the dead connection holds that lock, and both would wait for ever. The closed
// socket fails the write.
type socket struct {
	net.Conn
	failure atomic.Pointer[error] // the first; amqp091-go acts on it a little later
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err != nil {
		err = s.fail(err)
	}
	return n, err
}

func (s *socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if err != nil {
		err = s.fail(err)
	}
	return n, err
}

// cut closes the socket without a word to the broker.
func (s *socket) cut() { s.fail(net.ErrClosed) }

// fail closes the socket and returns the first failure: after a failed write, the read
// says no more than that the socket is closed.
func (s *socket) fail(err error) error {
	s.failure.CompareAndSwap(nil, &err)
	s.Conn.Close()
	return *s.failure.Load()
}
