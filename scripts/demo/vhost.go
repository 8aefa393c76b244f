package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A vhost is the virtual host where the demos run.
type vhost struct {
	url  string // what the programs get as AMQP_URL
	conn *amqp.Connection
	api  *url.URL // of the virtual host that was made for the demos, if one was
}

// errURL does not say what is wrong with it: that would repeat a password.
var errURL = errors.New("AMQP_URL is no AMQP URL, such as amqp://user:password@localhost:5672/")

// openVhost connects to the virtual host of amqpURL. With the management API of a broker
// that may be used freely, it makes one for the demos.
func openVhost(amqpURL, managementURL string) (_ *vhost, err error) {
	if _, err := amqp.ParseURI(amqpURL); err != nil {
		return nil, errURL
	}
	v := &vhost{url: amqpURL}
	if managementURL != "" {
		if err := v.makeVhost(managementURL); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = first(err, v.close())
		}
	}()

	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(fmt.Sprintf("demo (%d)", os.Getpid()))
	v.conn, err = amqp.DialConfig(v.url, amqp.Config{
		Properties: properties,
		Dial:       amqp.DefaultDial(5 * time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	return v, v.lock()
}

func (v *vhost) makeVhost(managementURL string) error {
	name := fmt.Sprintf("demo-%d", os.Getpid())
	at, err := url.Parse(managementURL)
	if err != nil {
		return errors.New("the URL of the management API is not a URL")
	}
	v.api = at.JoinPath("api", "vhosts", name)
	if err := v.request(http.MethodPut); err != nil { // its maker gets all permissions
		v.api = nil
		return fmt.Errorf("make virtual host %s: %w", name, err)
	}
	u, err := url.Parse(v.url)
	if err != nil {
		return errURL
	}
	u.Path = "/" + name
	v.url = u.String()
	return nil
}

// request is not interrupted by Ctrl+C: whether the virtual host was made must be
// known.
func (v *vhost) request(method string) error {
	request, err := http.NewRequest(method, v.api.String(), nil)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return errors.New(response.Status)
	}
	return nil
}

// close disconnects, and removes the virtual host that connect has made.
func (v *vhost) close() error {
	if v.conn != nil {
		// The lock would go away with the connection, but only some time after it.
		if ch, err := v.conn.Channel(); err == nil {
			ch.QueueDelete(lockQueue, false, false, false) // fails if it is another demo's
		}
		v.conn.Close() // fails if the connection is lost, which closes it as well
	}
	if v.api == nil {
		return nil
	}
	if err := v.request(http.MethodDelete); err != nil {
		return fmt.Errorf("remove the demo's virtual host: %w", err)
	}
	return nil
}

const lockQueue = "demo-lock"

// lock keeps a second demo out of the virtual host: nobody else can declare the
// exclusive queue as long as this connection lives.
func (v *vhost) lock() error {
	ch, err := v.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	_, err = ch.QueueDeclare(lockQueue, false, true, true, false, nil)
	if is(err, amqp.ResourceLocked) {
		return errors.New("another demo is running in this virtual host: wait until it has ended")
	}
	return err
}

// prepare makes sure that the lesson can use its queues and exchanges without
// harm to anybody, and returns what takes away the ones that are not there yet.
func (v *vhost) prepare(l lesson) (tidy func() error, err error) {
	var undo []func(*amqp.Channel) error
	for _, name := range l.queues {
		queue, err := v.inspect(name)
		switch {
		case is(err, amqp.NotFound):
			undo = append(undo, func(ch *amqp.Channel) error {
				_, err := ch.QueueDelete(name, false, false, false)
				return err
			})
		case err != nil:
			return nil, fmt.Errorf("look at queue %q: %w", name, err)
		case queue.Messages > 0 || queue.Consumers > 0:
			return nil, fmt.Errorf("queue %q is in use (messages: %d, consumers: %d), and the demo would mix with it: "+
				"let AMQP_URL name another virtual host or another broker", name, queue.Messages, queue.Consumers)
		default: // it stays, as empty as it is
			undo = append(undo, func(ch *amqp.Channel) error {
				_, err := ch.QueuePurge(name, false)
				return err
			})
		}
	}
	for _, name := range l.exchanges {
		err := v.onChannel(func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(name, amqp.ExchangeFanout, false, false, false, false, nil)
		})
		switch {
		case is(err, amqp.NotFound):
			undo = append(undo, func(ch *amqp.Channel) error { return ch.ExchangeDelete(name, false, false) })
		case err != nil:
			return nil, fmt.Errorf("look at exchange %q: %w", name, err)
		}
	}
	return func() error {
		for _, step := range undo {
			if err := v.onChannel(step); err != nil {
				return fmt.Errorf("put the broker in order again: %w", err)
			}
		}
		return nil
	}, nil
}

// inspect returns how many messages of a queue wait, and how many consumers it
// has. The messages that a consumer has but did not acknowledge do not count.
func (v *vhost) inspect(name string) (queue amqp.Queue, err error) {
	err = v.onChannel(func(ch *amqp.Channel) error {
		queue, err = ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
	return queue, err
}

// onChannel gives fn a channel of its own, because a refusal closes the channel.
func (v *vhost) onChannel(fn func(*amqp.Channel) error) error {
	ch, err := v.conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	return fn(ch)
}

func is(err error, code int) bool {
	var refusal *amqp.Error
	return errors.As(err, &refusal) && refusal.Code == code
}
