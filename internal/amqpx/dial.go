package amqpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// dialTimeout bounds everything from the name look-up to the open channel.
	dialTimeout = 5 * time.Second

	// A broker that refuses a log-in without a word hangs up three seconds later.
	refusalTime = 2 * time.Second
)

// ErrURL is wrapped in the error for a broker address that is not an AMQP URI.
// See https://www.rabbitmq.com/docs/uri-spec.
var ErrURL = errors.New("not an AMQP URL")

// ErrConnect is wrapped in the error if no connection to the broker could be opened.
var ErrConnect = errors.New("connect")

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

// open opens a session, within five seconds or until ctx ends.
func open(ctx context.Context, url string) (*Session, error) {
	address, uri, err := parse(url)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer within %v", dialTimeout))
	defer cancel()
	s, err := connect(ctx, url, uri)
	if err != nil {
		return nil, fmt.Errorf("%w to %s: %w", ErrConnect, address, cmp.Or(context.Cause(ctx), err))
	}
	return s, nil
}

func connect(ctx context.Context, url string, uri amqp.URI) (*Session, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)))
	if err != nil {
		return nil, err
	}
	s := &Session{socket: &socket{Conn: c}, writing: make(chan struct{}, 1)}
	connected := time.Now()
	// amqp091-go waits for ever if the broker does not answer now: it misses no heartbeat
	// before a first frame has arrived.
	defer context.AfterFunc(ctx, s.socket.cut)()

	// The console lists connections under this name.
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(fmt.Sprintf("%s (%d)", programName(), os.Getpid()))
	s.conn, err = amqp.DialConfig(url, amqp.Config{
		Properties: properties,
		Dial:       func(string, string) (net.Conn, error) { return s.socket, nil },
	})
	if err != nil {
		s.socket.cut()
		// amqp091-go takes any connection that ends during the log-in for a refused
		// password or virtual host.
		guess := errors.Is(err, amqp.ErrCredentials) || errors.Is(err, amqp.ErrVhost)
		if guess && time.Since(connected) < refusalTime {
			err = errors.New("the connection was cut off during the log-in")
		}
		return nil, err
	}
	blocked := s.conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	s.watch.Go(func() {
		for b := range blocked { // is closed with the connection
			if b.Active {
				log.Printf("the broker is blocking publishers: %s", b.Reason)
			} else {
				log.Print("the broker takes messages again")
			}
		}
	})
	if s.Channel, err = s.conn.Channel(); err != nil {
		s.close(false)
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	closed := s.NotifyClose(make(chan *amqp.Error, 1))
	s.closed = sync.OnceValue(func() *amqp.Error { return <-closed })
	return s, nil
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
