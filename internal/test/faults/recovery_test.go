package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// recoveryTime is how long a program may take, from the moment that the broker
// accepts connections, until it is at work again.
const recoveryTime = 2 * time.Second

// The broker is killed while all consumers are at work, and starts again.
func TestConsumersSurviveBrokerCrash(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	url := broker.NewVhost().URL

	consumers := []struct {
		program *harness.Process
		waiting string // the line when it is ready
		message string // what the line for a message contains
	}{
		{harness.Start(t, url, "receive"), " [*] Waiting for messages", " [x] Received load"},
		{harness.Start(t, url, "worker"), " [*] Waiting for messages", " [x] Received load"},
		{harness.Start(t, url, "receive_logs"), " [*] Waiting for logs", " [x] load"},
		{harness.Start(t, url, "receive_logs_direct", "info", "error"), " [*] Waiting for logs", " [x] error:load"},
		{harness.Start(t, url, "receive_logs_topic", "kern.*"), " [*] Waiting for logs", " [x] kern.critical:load"},
		{harness.Start(t, url, "rpc_server"), " [x] Awaiting RPC requests", " [.] fib(10)"},
	}
	for _, c := range consumers {
		c.program.Await(c.waiting)
	}
	ctx, cancel := context.WithCancel(t.Context())
	connected := make(chan time.Time, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		load(ctx, url, connected)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	<-connected
	for _, c := range consumers {
		for range 20 {
			c.program.Await(c.message)
		}
	}

	broker.SaveQueues()
	broker.Kill()
	for _, c := range consumers {
		c.program.Await(" [!] connection lost")
	}
	broker.Up()
	accepting := <-connected // the load came first: it tries ten times as often
	for _, c := range consumers {
		c.program.Await(" [!] connected again")
		waiting := c.program.Await(c.waiting).At.Sub(accepting)
		message := c.program.Await(c.message).At.Sub(accepting)
		t.Logf("%-20s waits %4d ms, and has its first message %4d ms, after the broker accepts connections",
			c.program.Name(), waiting.Milliseconds(), message.Milliseconds())
		if max(waiting, message) > recoveryTime {
			t.Errorf("%s took longer than %v", c.program.Name(), recoveryTime)
		}
	}
	for _, c := range consumers {
		for range 20 {
			c.program.Await(c.message)
		}
		c.program.Stop()
	}
}

// load publishes to all consumers, a hundred messages a second each, and connects
// again whenever it is cut off. It reports the time of each connection.
func load(ctx context.Context, url string, connected chan<- time.Time) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	connect := func() (err error) {
		conn, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(time.Second)})
		if err != nil {
			return err
		}
		defer func() { conn.CloseDeadline(time.Now().Add(time.Second)) }()
		accepted := time.Now()
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		for exchange, kind := range map[string]string{"logs": "fanout", "direct_logs": "direct", "topic_logs": "topic"} {
			if err := ch.ExchangeDeclare(exchange, kind, false, false, false, false, nil); err != nil {
				return err
			}
		}
		select {
		case connected <- accepted:
		case <-ctx.Done():
		}
		for n := 1; ; n++ {
			body := []byte(fmt.Sprintf("load %d", n))
			for _, to := range []struct{ exchange, key string }{
				{"", "hello"}, {"", "task_queue"}, {"logs", ""}, {"direct_logs", "error"}, {"topic_logs", "kern.critical"},
			} {
				if err := ch.PublishWithContext(ctx, to.exchange, to.key, false, false, amqp.Publishing{Body: body}); err != nil {
					return err
				}
			}
			request := amqp.Publishing{Body: []byte("10"), ReplyTo: "nobody"}
			if err := ch.PublishWithContext(ctx, "", "rpc_queue", false, false, request); err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
	for ctx.Err() == nil {
		if connect() != nil {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
}

// Deleting the queue cancels its consumers, on a connection that lives.
func TestConsumersSurviveTheLossOfTheirQueue(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for _, c := range []struct{ program, waiting, queue string }{
		{"receive", " [*] Waiting for messages", "hello"},
		{"worker", " [*] Waiting for messages", "task_queue"},
		{"rpc_server", " [x] Awaiting RPC requests", "rpc_queue"},
	} {
		p := harness.Start(t, v.URL, c.program)
		p.Await(c.waiting)
		v.DeleteQueue(c.queue)
		p.Await(" [!] the broker cancelled the consumer")
		p.Await(" [!] connected again")
		p.Await(c.waiting)
		request := amqp.Publishing{Body: []byte("10"), ReplyTo: "nobody"}
		if err := channel(t, v.URL).PublishWithContext(t.Context(), "", c.queue, false, false, request); err != nil {
			t.Fatal(err)
		}
		p.Await("10")
		p.Stop()
	}
}

// RabbitMQ takes back what a consumer does not acknowledge in time. Version 4.3
// cancels the consumer; before, it closed the channel with 406.
func TestWorkerSurvivesTheAcknowledgementTimeout(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	broker.Ctl("eval", `application:set_env(rabbit, consumer_timeout, 1000),
		application:set_env(rabbit, channel_tick_interval, 500).`)
	v := broker.NewVhost()

	slow := harness.Start(t, v.URL, "worker", "-unit", "2s")
	slow.Await(" [*] Waiting")
	publish(t, channel(t, v.URL), "task_queue", "first...")
	slow.Await(" [x] Received first...")

	// While it is busy, its task goes to somebody else.
	fast := harness.Start(t, v.URL, "worker", "-unit", "1ms")
	fast.Await(" [x] Received first... (redelivered)")
	fast.Await(" [x] Done")
	if slices.Contains(slow.Stdout(), " [x] Done") {
		t.Error("the task went back to the queue only when it was done")
	}
	fast.Stop()

	slow.Await(" [x] Done")
	t.Log(slow.Await(" [!] ").Text)
	slow.Await(" [*] Waiting")
	publish(t, channel(t, v.URL), "task_queue", "second")
	slow.Await(" [x] Received second")
	slow.Await(" [x] Done")
	slow.Stop()
	harness.Eventually(t, 10*time.Second, "task_queue is empty", func() bool {
		q := v.Queue("task_queue")
		return q.Ready == 0 && q.Unacked == 0
	})
}

// The task is done, but the broker never hears of it: it can only have it done
// again, and it says so. What it has heard of is not done again.
func TestTaskIsDoneAgainWhenItsAcknowledgementIsLost(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	w := newWire(t, v.URL)
	worker := harness.Start(t, w.URL, "worker", "-unit", "1ms")
	worker.Await(" [*] Waiting")
	w.CutAtAck()
	publish(t, channel(t, v.URL), "task_queue", "first.")
	publish(t, channel(t, v.URL), "task_queue", "second.")

	worker.Await(" [x] Received second.")
	worker.Await(" [x] Done")
	worker.Stop()
	want := []string{
		" [*] Waiting for messages. To exit press CTRL+C",
		" [x] Received first.", " [x] Done",
		" [*] Waiting for messages. To exit press CTRL+C",
		" [x] Received first. (redelivered)", " [x] Done",
		" [x] Received second.", " [x] Done",
	}
	if got := worker.Stdout(); !slices.Equal(got, want) {
		t.Errorf("the worker printed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if q := v.Queue("task_queue"); q.Ready != 0 {
		t.Errorf("%d tasks are left", q.Ready)
	}
}

// A worker has m1 in hand, and m2 to m5 ahead, when its connection is cut.
// Another takes these five over before it is back, so that it gets m6 next, and
// m6 has the delivery tag that m1 had. Now it acknowledges m1.
//
// amqp091-go's recovery takes this for an acknowledgement of m6, which nobody
// has worked on. If it ever stops doing so, this test says that too.
func TestLateAcknowledgementHitsNoOtherMessage(t *testing.T) {
	t.Parallel()
	messages := numbered("m", 10)

	t.Run("amqp091-go's recovery loses m6", func(t *testing.T) {
		v := harness.NewVhost(t)
		publish(t, channel(t, v.URL), "tasks", messages...)
		dials, takenOver := 0, make(chan struct{})
		conn, err := amqp.DialConfig(v.URL, amqp.Config{
			Recovery: &amqp.Recovery{},
			Dial: func(network, address string) (net.Conn, error) {
				if dials++; dials > 1 {
					<-takenOver
				}
				return net.Dial(network, address)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		deliveries := consume(t, ch, "tasks", 5)
		m1 := next(t, deliveries)
		v.CloseConnections("fault test")
		other := channel(t, v.URL)
		others := consume(t, other, "tasks", 5)
		for range 5 {
			next(t, others)
		}
		close(takenOver)
		for d := m1; string(d.Body) != "m6"; {
			d = next(t, deliveries)
		}
		if err := m1.Ack(false); err != nil {
			t.Fatal(err)
		}
		if err := ch.Close(); err != nil { // in order, after the acknowledgement
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		if lost := slices.DeleteFunc(slices.Clone(messages), contained(drain(t, v, "tasks"))); !slices.Equal(lost, []string{"m6"}) {
			t.Errorf("lost: %v, want m6. Does amqp091-go tell old delivery tags from new ones now?", lost)
		}
	})

	t.Run("a session does not", func(t *testing.T) {
		v := harness.NewVhost(t)
		publish(t, channel(t, v.URL), "tasks", messages...)
		cut, takenOver := make(chan struct{}), make(chan struct{})
		done := make(chan error)
		go func() {
			var m1 amqp.Delivery
			done <- amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
				again := m1.Acknowledger != nil
				if again {
					<-takenOver
				}
				if err := s.Qos(5, 0, false); err != nil {
					return err
				}
				deliveries, err := s.Consume(t.Context(), amqpx.Consumer{Queue: "tasks"})
				if err != nil {
					return err
				}
				for d := range deliveries {
					switch {
					case !again && m1.Acknowledger == nil:
						m1 = d
						close(cut)
					case again:
						if string(d.Body) != "m6" || d.DeliveryTag != m1.DeliveryTag {
							return fmt.Errorf("got %s with tag %d", d.Body, d.DeliveryTag)
						}
						if err := amqpx.Ack(m1); !errors.Is(err, amqp.ErrClosed) {
							return fmt.Errorf("the late acknowledgement: %v", err)
						}
						return nil
					}
				}
				return nil
			})
		}()
		<-cut
		v.CloseConnections("fault test")
		other := channel(t, v.URL)
		others := consume(t, other, "tasks", 5)
		for range 5 {
			next(t, others)
		}
		close(takenOver)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		if lost := slices.DeleteFunc(slices.Clone(messages), contained(drain(t, v, "tasks"))); len(lost) > 0 {
			t.Errorf("lost: %v", lost)
		}
	})
}

// drain takes all that is in a queue.
func drain(t *testing.T, v *harness.Vhost, queue string) []string {
	t.Helper()
	ch := channel(t, v.URL)
	publish(t, ch, queue, "end")
	deliveries := consume(t, ch, queue, 100)
	var bodies []string
	for {
		d := next(t, deliveries)
		if err := d.Ack(false); err != nil {
			t.Fatal(err)
		}
		if string(d.Body) == "end" {
			return bodies
		}
		bodies = append(bodies, string(d.Body))
	}
}

func contained(in []string) func(string) bool {
	return func(s string) bool { return slices.Contains(in, s) }
}

// A broker that still counts the connection that was lost may have no room for a
// new one. That is no refusal for good.
func TestConsumerWaitsForRoomForItsConnection(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	broker := harness.SharedBroker(t)
	p := harness.Start(t, v.URL, "receive")
	p.Await(" [*] Waiting for messages")
	broker.Ctl("set_vhost_limits", "-p", v.Name, `{"max-connections":0}`)
	v.CloseConnections("make room")
	p.Await("is reached; connecting again")
	broker.Ctl("clear_vhost_limits", "-p", v.Name)
	p.Await(" [!] connected again")
	p.Await(" [*] Waiting for messages")
	p.Stop()
}
