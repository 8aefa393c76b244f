package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

// A vhost is the virtual host where the demos run.
type vhost struct {
	url    string // what the programs get as AMQP_URL
	conn   *amqp.Connection
	remove func() error // removes the virtual host, if it was made for the demos
}

// upVhost opens a virtual host on the broker that make up would find or start.
func upVhost(ctx context.Context) (*vhost, error) {
	wish, err := broker.FromEnv()
	if err != nil {
		return nil, err
	}
	server, err := broker.Up(ctx, wish)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stderr, "broker:", server.Told)
	return openVhost(server.URL, server.ManagementURL)
}

// openVhost connects to the virtual host of amqpURL. If it is given a management API, it makes
// a virtual host for the demos instead.
func openVhost(amqpURL, managementURL string) (_ *vhost, err error) {
	v := &vhost{url: amqpURL, remove: func() error { return nil }}
	if managementURL != "" {
		u, err := url.Parse(amqpURL)
		if err != nil {
			return nil, errors.New("AMQP_URL is not a URL: mend it") // the cause repeats the password
		}
		u.Path = fmt.Sprintf("/demo-%d", os.Getpid())
		v.url = u.String()
		// Ctrl+C does not interrupt this request: we must know whether to remove the virtual host.
		if err := harness.API(managementURL, http.MethodPut, "/vhosts"+u.Path, nil, nil); err != nil {
			return nil, fmt.Errorf("make the demo's virtual host: %w", err)
		}
		v.remove = func() error { return harness.API(managementURL, http.MethodDelete, "/vhosts"+u.Path, nil, nil) }
	}
	if v.conn, err = amqp.Dial(v.url); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the broker: %w", err), v.remove())
	}
	return v, nil
}

// close disconnects, and removes the virtual host that openVhost has made.
func (v *vhost) close() error {
	// The lock would vanish with the connection, but only some time after it.
	v.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(lockQueue, false, false, false)
		return err // if the lock is another demo's
	})
	v.conn.Close() // fails if the connection is lost, which closes it as well
	if err := v.remove(); err != nil {
		return fmt.Errorf("remove the demo's virtual host: %w", err)
	}
	return nil
}

const lockQueue = "demo-lock"

// lock keeps a second demo out of the virtual host: while this connection lives, no other can
// declare the exclusive queue.
func (v *vhost) lock() error {
	err := v.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(lockQueue, false, true, true, false, nil)
		return err
	})
	if refusedWith(err, amqp.ResourceLocked) {
		return errors.New("another demo is running in this virtual host: wait until it has ended")
	}
	return err
}

// prepare ends the lesson if somebody else uses its queues. When the lesson ends, it deletes
// the queues and exchanges that are new, and empties the others.
func (s *stage) prepare(l lesson) {
	for _, name := range l.queues {
		queue, err := s.vhost.inspect(name)
		switch {
		case refusedWith(err, amqp.NotFound):
			s.tidy(func(ch *amqp.Channel) error { _, err := ch.QueueDelete(name, false, false, false); return err })
		case err != nil:
			s.Fatalf("look at queue %q: %w", name, err)
		case queue.Messages > 0 || queue.Consumers > 0:
			s.Fatalf("queue %q is in use (messages: %d, consumers: %d), and the demo would mix with it: "+
				"set AMQP_URL to another virtual host or another broker", name, queue.Messages, queue.Consumers)
		default: // it stays, as empty as it is
			s.tidy(func(ch *amqp.Channel) error { _, err := ch.QueuePurge(name, false); return err })
		}
	}
	for _, name := range l.exchanges {
		err := s.vhost.onChannel(func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(name, amqp.ExchangeFanout, false, false, false, false, nil)
		})
		if refusedWith(err, amqp.NotFound) {
			s.tidy(func(ch *amqp.Channel) error { return ch.ExchangeDelete(name, false, false) })
		} else if err != nil {
			s.Fatalf("look at exchange %q: %w", name, err)
		}
	}
}

// tidy calls do when the lesson has ended.
func (s *stage) tidy(do func(*amqp.Channel) error) {
	s.Cleanup(func() {
		if err := s.vhost.onChannel(do); err != nil {
			s.Errorf("put the broker in order again: %w", err)
		}
	})
}

// inspect returns how many messages of a queue are ready, and how many consumers it has.
// Unacknowledged messages do not count.
func (v *vhost) inspect(name string) (queue amqp.Queue, err error) {
	err = v.onChannel(func(ch *amqp.Channel) error {
		queue, err = ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
	return queue, err
}

// onChannel gives do a channel of its own, because a refusal closes the channel.
func (v *vhost) onChannel(do func(*amqp.Channel) error) error {
	ch, err := v.conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	return do(ch)
}

func refusedWith(err error, code int) bool {
	var refusal *amqp.Error
	return errors.As(err, &refusal) && refusal.Code == code
}
