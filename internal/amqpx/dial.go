package amqpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/socket"
)

// dialTimeout bounds everything from the name look-up to the open channel.
const dialTimeout = 5 * time.Second

// refusalTime tells a refused log-in from a broken connection: a broker that refuses one hangs up without
// a word, three seconds later.
const refusalTime = 2 * time.Second

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
	case err != nil || strings.Contains(rawURL, " "):
		return "", uri, fmt.Errorf("%w: it cannot be parsed", ErrURL)
	case u.Scheme != "amqp" && u.Scheme != "amqps" || u.Opaque != "":
		return "", uri, fmt.Errorf("%w: it does not start with amqp:// or amqps://", ErrURL)
	case u.Fragment != "" || strings.Contains(u.EscapedPath()+u.RawQuery, "@"):
		// An unescaped "/", "?" or "#" in the password ends the host there: a part of
		// the password would be taken for the host, the port or the virtual host, and
		// be printed. The "@" that follows tells.
		return "", uri, fmt.Errorf("%w: a special character in the user name or the password is not percent-encoded", ErrURL)
	}
	if uri, err = amqp.ParseURI(rawURL); err != nil || uri.Port < 1 || uri.Port > 65535 {
		return "", uri, fmt.Errorf("%w: the port, or a parameter after the question mark, has no valid value", ErrURL)
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath(), uri, nil
}

// brokers has the brokers to try, the most promising one first.
type brokers []*broker

type broker struct {
	url, address, host string
	tried              bool // only the failure of a first try is told
}

// parseAll reads URLs with commas between them. Their order is random, so that clients spread.
func parseAll(urls string) (all brokers, err error) {
	list := strings.Split(urls, ",")
	for i, url := range list {
		address, uri, err := parse(url)
		switch {
		case err != nil && len(list) > 1:
			return nil, fmt.Errorf("broker %d of %d: %w", i+1, len(list), err)
		case err != nil:
			return nil, err
		}
		all = append(all, &broker{url, address, net.JoinHostPort(uri.Host, fmt.Sprint(uri.Port)), false})
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// open opens a session with the first broker that answers. If none does, the error is one
// that is neither incurable nor doubtful, if there is one.
func (all brokers) open(ctx context.Context) (_ *Session, err error) {
	for i := range all {
		b, tried := all[0], all[0].tried
		b.tried = true
		s, failure := b.open(ctx)
		if failure == nil || ctx.Err() != nil {
			return s, failure
		}
		if err == nil || !incurable(failure) && !doubtful(failure) {
			err = failure
		}
		if !tried && (i < len(all)-1 || err != failure) {
			log.Printf("%v; trying another broker", failure)
		}
		all.putOff()
	}
	return nil, err
}

// putOff moves the first broker to the end. It costs no time there, unless all others fail too.
func (all brokers) putOff() { copy(all, slices.Concat(all[1:], all[:1])) }

// open opens a session, within five seconds or until ctx ends.
func (b *broker) open(ctx context.Context) (s *Session, err error) {
	dial, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer within %v", dialTimeout))
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w to %s: %w", ErrConnect, b.address, cmp.Or(context.Cause(dial), err))
		}
	}()
	c, err := new(net.Dialer).DialContext(dial, "tcp", b.host) // TLS comes on top, below
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
	s.conn, err = amqp.DialConfig(b.url, amqp.Config{
		Properties: properties,
		Dial:       func(string, string) (net.Conn, error) { return s.socket, nil },
	})
	if err != nil {
		s.socket.Cut()
		s.socket.Close() // waits for its goroutine
		failure := s.socket.Failure()
		// amqp091-go takes any connection that ends or falls silent after the user name was
		// sent for a refused password or virtual host. A real refusal is neither early nor silent.
		refused := errors.Is(err, amqp.ErrCredentials) || errors.Is(err, amqp.ErrVhost)
		early, silent := time.Since(connected) < refusalTime, errors.Is(failure, os.ErrDeadlineExceeded)
		// Other errors of the network have the local port in their text: another text each
		// time, and Run would tell every try.
		var network *net.OpError
		reset := errors.As(failure, &network) && strings.Contains(err.Error(), network.Error())
		if refused && (early || silent) || reset {
			err = errors.New("the connection broke during the log-in")
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
	s.closed = sync.OnceValue(func() *amqp.Error { return cmp.Or(<-closed, amqp.ErrClosed) })
	return s, nil
}

// programName names the connection and the consumers of this process.
func programName() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") }
