// Client does the work of a benchmark, with amqpx or with plain amqp091-go. It is a process of its
// own so that its processor time can be told from the broker's and the benchmark's.
//
//	AMQP_URL=amqp://... client amqpx|plain
//
// It prints what it is, and reads a run from each line:
//
//	publish QUEUE N BYTES WINDOW               persistent and mandatory messages, with confirms;
//	                                           one goroutine keeps a window of them on their way
//	publishers QUEUE N BYTES GOROUTINES        the same from goroutines that each publish a message
//	                                           and wait for its confirm
//	consume QUEUE N PREFETCH each|automatic    and how to acknowledge them
//
// Each run has a connection of its own. When it is over, Client prints how many seconds it took, how many
// seconds of processor time, and when it began, as Unix time. The clients in ../../peers have no
// publishers, and print the first two figures.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"rabbitmq-tutorial/internal/amqpx"
)

// A client has the runs of one library.
type client struct {
	publish, publishers func(queue string, n, size, count int) error
	consume             func(queue string, n, prefetch int, autoAck bool) error
}

var url = os.Getenv("AMQP_URL")

func main() {
	log.SetFlags(0)
	c := map[string]client{
		"amqpx": {publishAmqpx, publishersAmqpx, consumeAmqpx},
		"plain": {publishPlain, publishersPlain, consumePlain},
	}[os.Args[1]]
	fmt.Println(version())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var role, queue, last string
		var n, a int
		_, err := fmt.Sscan(lines.Text(), &role, &queue, &n, &a, &last)
		check(err)
		switch count, _ := strconv.Atoi(last); role {
		case "publish":
			check(c.publish(queue, n, a, count))
		case "publishers":
			check(c.publishers(queue, n, a, count))
		case "consume":
			check(c.consume(queue, n, a, last == "automatic"))
		}
	}
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/rabbitmq/amqp091-go" {
			return "amqp091-go " + module.Version + ", " + info.GoVersion
		}
	}
	return "amqp091-go"
}

// A watch measures a run, from its start to print.
type watch struct{ start, cpu time.Duration }

var began = time.Now()

func now() watch {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return watch{time.Since(began), time.Duration(used.Utime.Nano() + used.Stime.Nano())}
}

func (w watch) print() {
	end := now()
	fmt.Println((end.start - w.start).Seconds(), (end.cpu - w.cpu).Seconds(), float64(began.Add(w.start).UnixMicro())/1e6)
}

func persistent(size int) amqp.Publishing {
	return amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "application/octet-stream", Body: make([]byte, size)}
}

func publishAmqpx(queue string, n, size, window int) error {
	return amqpx.Run(context.Background(), url, func(s *amqpx.Session) error {
		return publishWindow(s.Channel, queue, n, size, window)
	})
}

func publishPlain(queue string, n, size, window int) error {
	ch, done := open()
	defer done()
	return publishWindow(ch, queue, n, size, window)
}

// publishWindow waits for the oldest confirm of the window before it publishes the next message.
func publishWindow(ch *amqp.Channel, queue string, n, size, window int) error {
	check(ch.Confirm(false))
	returns := ch.NotifyReturn(make(chan amqp.Return, window))
	confirms, msg := make([]*amqp.DeferredConfirmation, window), persistent(size)
	start := now()
	for i := range n + window { // the last rounds only wait
		if oldest := confirms[i%window]; oldest != nil && (!oldest.Wait() || len(returns) > 0) {
			return errRefused
		}
		confirms[i%window] = nil
		if i < n {
			var err error
			confirms[i%window], err = ch.PublishWithDeferredConfirm("", queue, true, false, msg)
			check(err)
		}
	}
	start.print()
	return nil
}

func publishersAmqpx(queue string, n, size, goroutines int) error {
	ctx, cancel := context.WithCancel(context.Background()) // for a context without an end, PublishConfirmed makes one
	defer cancel()
	msg, to := persistent(size), amqpx.Route{RoutingKey: queue, Mandatory: true}
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		return sideBySide(n, goroutines, func() error { return s.PublishConfirmed(ctx, to, msg) })
	})
}

func publishersPlain(queue string, n, size, goroutines int) error {
	ch, done := open()
	defer done()
	check(ch.Confirm(false))
	returns, msg := ch.NotifyReturn(make(chan amqp.Return, goroutines)), persistent(size)
	return sideBySide(n, goroutines, func() error {
		confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, msg)
		if err == nil && (!confirm.Wait() || len(returns) > 0) {
			err = errRefused
		}
		return err
	})
}

// sideBySide calls publish n times, from several goroutines.
func sideBySide(n, goroutines int, publish func() error) error {
	start := now()
	var left atomic.Int64
	left.Store(int64(n))
	var publishers errgroup.Group
	for range goroutines {
		publishers.Go(func() error {
			for left.Add(-1) >= 0 {
				if err := publish(); err != nil {
					left.Store(0) // the others finish what is on its way
					return err
				}
			}
			return nil
		})
	}
	err := publishers.Wait()
	start.print()
	return err
}

var (
	errRefused = errors.New("the broker refused a message")
	errEnded   = errors.New("the deliveries ended")
)

func consumeAmqpx(queue string, n, prefetch int, autoAck bool) error {
	ctx := context.Background()
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.Qos(prefetch); err != nil {
			return err
		}
		start := now()
		deliveries, err := s.Consume(ctx, amqpx.Consumer{Queue: queue, AutoAck: autoAck})
		if err != nil {
			return err
		}
		taken := 0
		for d := range deliveries {
			if !autoAck {
				if err := amqpx.Ack(d); err != nil {
					return err
				}
			}
			if taken++; taken == n {
				break
			}
		}
		if taken < n {
			return errEnded
		}
		// The broker handles a channel's methods in order: after this answer, it has the last
		// acknowledgement.
		if err := s.Qos(prefetch); err != nil {
			return err
		}
		start.print()
		return nil
	})
}

func consumePlain(queue string, n, prefetch int, autoAck bool) error {
	ch, done := open()
	defer done()
	check(ch.Qos(prefetch, 0, false))
	start := now()
	// Each delivery carries the consumer tag. amqp091-go's own is a long path, and slow.
	deliveries, err := ch.Consume(queue, "plain", autoAck, false, false, false, nil)
	check(err)
	taken := 0
	for d := range deliveries {
		if !autoAck {
			check(d.Ack(false))
		}
		if taken++; taken == n {
			break
		}
	}
	if taken < n {
		return errEnded
	}
	check(ch.Qos(prefetch, 0, false))
	start.print()
	return nil
}

func open() (ch *amqp.Channel, done func()) {
	conn, err := amqp.Dial(url)
	check(err)
	ch, err = conn.Channel()
	check(err)
	return ch, func() { check(conn.Close()) }
}

func check(err error) {
	if err != nil {
		log.Fatal("client: ", err)
	}
}
