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
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/socket"
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
func open(ctx context.Context, url string) (s *Session, err error) {
	address, uri, err := parse(url)
	if err != nil {
		return nil, err
	}
	dial, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer within %v", dialTimeout))
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w to %s: %w", ErrConnect, address, cmp.Or(context.Cause(dial), err))
		}
	}()
	c, err := new(net.Dialer).DialContext(dial, "tcp", net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)))
	if err != nil {
		return nil, err
	}
	s = &Session{ctx: ctx, socket: socket.New(ctx, c), writing: make(chan struct{}, 1)}
	connected := time.Now()
	// amqp091-go waits for ever if the broker does not answer now: it misses no heartbeat
	// before a first frame has arrived.
	defer context.AfterFunc(dial, s.socket.Cut)()

	// The console lists connections under this name.
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(fmt.Sprintf("%s (%d)", programName(), os.Getpid()))
	s.conn, err = amqp.DialConfig(url, amqp.Config{
		Properties: properties,
		Dial:       func(string, string) (net.Conn, error) { return s.socket, nil },
	})
	if err != nil {
		s.socket.Cut()
		s.socket.Close() // waits for its goroutine
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
