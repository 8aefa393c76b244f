package amqpx

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// dialTimeout bounds everything from the name look-up to connection.open-ok.
	dialTimeout = 5 * time.Second

	// A broker that refuses a log-in says nothing, and hangs up three seconds later.
	refusalTime = 2 * time.Second
)

// ErrURL is returned, wrapped, for a broker address that is not an AMQP URI.
// See https://www.rabbitmq.com/docs/uri-spec.
var ErrURL = errors.New("not an AMQP URL")

// ErrTLSFile is returned, wrapped, if a file that the address names for TLS is not
// of use. See https://www.rabbitmq.com/docs/uri-query-parameters.
var ErrTLSFile = errors.New("the URL names no usable certificate")

// A DialError says that no AMQP connection could be opened.
type DialError struct {
	Addr  string // the broker as the user may see it: no user name, no password
	Cause error
}

func (e *DialError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Addr, e.Cause) }
func (e *DialError) Unwrap() error { return e.Cause }

// Redact returns rawURL without its user name, password and parameters, so
// that it may be printed. A text that is not an AMQP URL gives an [ErrURL], and
// that error repeats nothing of the text either.
func Redact(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || strings.ContainsAny(rawURL, " \t\r\n"):
		return "", fmt.Errorf("%w: it cannot be parsed", ErrURL)
	case u.Scheme != "amqp" && u.Scheme != "amqps":
		return "", fmt.Errorf("%w: it does not start with amqp:// or amqps://", ErrURL)
	case u.Opaque != "" || u.Fragment != "" || strings.Contains(u.EscapedPath()+u.RawQuery, "@"):
		// An unescaped "/", "?" or "#" in the password ends the host early: parts
		// of the password would then be taken for the host, the port or the virtual
		// host, and be printed. What tells is the "@" that comes after it.
		return "", fmt.Errorf("%w: a special character in the user name or the password is not percent-encoded", ErrURL)
	}
	if _, err := amqp.ParseURI(rawURL); err != nil {
		return "", fmt.Errorf("%w: the port, or a parameter after the question mark, has no valid value", ErrURL)
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath(), nil
}

var (
	errNoAnswer    = fmt.Errorf("no answer within %v", dialTimeout)
	errLoginCutOff = errors.New("the connection was cut off during the log-in")
)

// dial opens an AMQP connection within five seconds, and gives up as soon as
// ctx ends. The socket lets the caller cut the connection when the broker no
// longer answers.
func dial(ctx context.Context, rawURL string) (*amqp.Connection, *socket, error) {
	addr, err := Redact(rawURL)
	if err != nil {
		return nil, nil, err
	}
	if uri, err := amqp.ParseURI(rawURL); err == nil && uri.Scheme == "amqps" {
		if err := checkTLSFiles(uri); err != nil {
			return nil, nil, &DialError{addr, err}
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()

	// The console lists connections under this name.
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(fmt.Sprintf("%s (%d)", programName(), os.Getpid()))

	var (
		sock      *socket
		connected time.Time
	)
	keep := func() bool { return true }
	conn, err := amqp.DialConfig(rawURL, amqp.Config{
		Properties: properties,
		Dial: func(network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			sock, connected = &socket{Conn: c}, time.Now()
			keep = context.AfterFunc(ctx, sock.cut)
			return sock, nil
		},
	})
	if kept := keep(); err == nil && kept {
		return conn, sock, nil
	}
	if sock != nil {
		sock.cut()
	}
	// amqp091-go takes whatever ends a connection during the log-in for a refused
	// password or virtual host.
	guess := errors.Is(err, amqp.ErrCredentials) || errors.Is(err, amqp.ErrVhost)
	if guess && time.Since(connected) < refusalTime {
		err = errLoginCutOff
	}
	return nil, nil, &DialError{addr, cmp.Or(context.Cause(ctx), err)}
}

// checkTLSFiles finds what amqp091-go would pass over, a CA file with no certificate
// in it and half of a client certificate, and names the file that is at fault.
func checkTLSFiles(uri amqp.URI) error {
	if uri.CACertFile != "" {
		ca, err := os.ReadFile(uri.CACertFile)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
			err = errors.New("no PEM certificate in it")
		}
		if err != nil {
			return fmt.Errorf("%w: cacertfile %q: %w", ErrTLSFile, uri.CACertFile, err)
		}
	}
	if uri.CertFile != "" || uri.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(uri.CertFile, uri.KeyFile); err != nil {
			return fmt.Errorf("%w: certfile %q and keyfile %q: %w", ErrTLSFile, uri.CertFile, uri.KeyFile, err)
		}
	}
	return nil
}

// programName names the connection and the consumers of this process.
func programName() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") }

// socket is a network connection that closes itself when reading or writing
// fails.
//
// When heartbeats stop coming, amqp091-go fails the read and then wants to
// shut the channels down. A publisher that is blocked in a write to the dead
// connection holds its channel's lock, so that both would wait for ever; the
// closed socket fails the write and lets both go on.
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

// fail closes the socket and returns why it was closed first: after a failed write,
// the read says no more than that the socket is closed.
func (s *socket) fail(err error) error {
	s.failure.CompareAndSwap(nil, &err)
	s.Conn.Close()
	return *s.failure.Load()
}
