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

// recoveryTime is how long a program may take to work again after the broker accepts
// connections.
const recoveryTime = 2 * time.Second

// The broker is killed while all consumers are at work, and starts again.
func TestConsumersSurviveBrokerCrash(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	url := broker.NewVhost().URL

	consumers := harness.Consumers()
	programs := make([]*harness.Process, len(consumers))
	for i, c := range consumers {
		programs[i] = c.Start(t, url)
	}
	awaitTwenty := func() {
		for i, c := range consumers {
			for range 20 {
				programs[i].Await(c.Prints + "10")
			}
		}
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
	awaitTwenty()

	broker.SaveQueues()
	broker.Kill()
	for _, p := range programs {
		p.Await(" [!] connection lost")
	}
	broker.Up()
	accepting := <-connected // load connected first, because it tries ten times as often
	for i, c := range consumers {
		programs[i].Await(" [!] connected again")
		waiting := programs[i].Await(c.Ready).At.Sub(accepting)
		message := programs[i].Await(c.Prints + "10").At.Sub(accepting)
		t.Logf("%-20s waits %4d ms, and has its first message %4d ms, after the broker accepts connections",
			c.Program, waiting.Milliseconds(), message.Milliseconds())
		if max(waiting, message) > recoveryTime {
			t.Errorf("%s took longer than %v", c.Program, recoveryTime)
		}
	}
	awaitTwenty()
	for _, p := range programs {
		p.Stop()
	}
}

// load publishes a hundred messages a second to each consumer, and connects again whenever
// it is cut off. It reports the time of each connection.
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
		for {
			for _, c := range harness.Consumers() {
				if err := ch.PublishWithContext(ctx, c.Exchange, c.Key, false, false, forAll("10")); err != nil {
					return err
				}
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

// Deleting the queue cancels its consumers, while their connections live on.
func TestConsumersSurviveTheLossOfTheirQueue(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	for _, c := range harness.Consumers() {
		if c.Exchange != "" {
			continue // nobody else may delete its queue
		}
		p := c.Start(t, v.URL)
		v.DeleteQueue(c.Key)
		p.Await(" [!] the broker cancelled the consumer")
		p.Await(" [!] connected again")
		p.Await(c.Ready)
		deliver(t, ch, c, p, "10")
		p.Stop()
	}
}

// RabbitMQ takes back what a consumer does not acknowledge in time. Version 4.3 then cancels
// the consumer; older versions close the channel with 406.
func TestWorkersSurviveTheAcknowledgementTimeout(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	v := broker.NewVhost()
	if strings.HasPrefix(broker.Version(), "3.") {
		broker.Ctl("eval", "application:set_env(rabbit, consumer_timeout, 1000), application:set_env(rabbit, channel_tick_interval, 500).")
	} else {
		v.SetPolicy("short-tasks", "^(task_queue|retry_tasks)$", map[string]any{"consumer-timeout": 1000})
	}

	slow := harness.StartConsumer(t, v.URL, "worker", "-unit=2s")
	ch := harness.Channel(t, v.URL)
	harness.Publish(t, ch, "", "task_queue", "first...")
	slow.Await(" [x] Received first...")

	// While it is busy, its task goes to another worker.
	fast := harness.Start(t, v.URL, "worker", "-unit", "1ms")
	fast.Await(" [x] Received first... (redelivered)")
	fast.Await(" [x] Done")
	if slices.Contains(slow.Stdout(), " [x] Done") {
		t.Error("the task went back to the queue only after it was done")
	}
	fast.Stop()

	slow.Await(" [x] Done")
	t.Log(slow.Await(" [!] ").Text)
	slow.Await(harness.WaitingForMessages)
	harness.Publish(t, ch, "", "task_queue", "second")
	slow.Await(" [x] Received second")
	slow.Await(" [x] Done")
	slow.Stop()
	v.AwaitQueue("task_queue", 0, 0)

	// Before version 4.3, the copy of a task that failed too late finds its channel closed.
	retrying := harness.StartConsumer(t, v.URL, "retry_worker")
	harness.Publish(t, ch, "", "retry_tasks", "slow...!")
	retrying.Await(" [x] Received slow...!")
	retrying.Await(harness.WaitingForMessages)
}

// A worker holds m1 to m5 when its connection is cut. Another worker takes these five before
// the first is back. So the first gets m6 next, with the delivery tag that m1 had, and only
// then acknowledges m1.
//
// With amqp091-go's recovery, this acknowledges m6, which nobody has worked on. If that ever
// changes, this test fails.
func TestLateAcknowledgementHitsNoOtherMessage(t *testing.T) {
	t.Parallel()
	messages := harness.Numbered("m", 10)
	newQueue := func(t *testing.T) *harness.Vhost {
		v := harness.NewVhost(t)
		ch := harness.Channel(t, v.URL)
		harness.DeclareQueue(t, ch, "tasks")
		harness.Publish(t, ch, "", "tasks", messages...)
		return v
	}
	// takeOver cuts the connections, and lets another worker take the next five.
	takeOver := func(t *testing.T, v *harness.Vhost) (other *amqp.Channel) {
		v.CloseConnections("fault test")
		other = harness.Channel(t, v.URL)
		others := harness.Consume(t, other, "tasks", 5)
		for range 5 {
			harness.Next(t, others)
		}
		return other
	}
	lost := func(v *harness.Vhost) []string {
		left := v.Drain("tasks")
		return slices.DeleteFunc(slices.Clone(messages), func(m string) bool {
			return slices.ContainsFunc(left, func(d amqp.Delivery) bool { return string(d.Body) == m })
		})
	}

	t.Run("amqp091-go's recovery loses m6", func(t *testing.T) {
		v := newQueue(t)
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
		deliveries := harness.Consume(t, ch, "tasks", 5)
		m1 := harness.Next(t, deliveries)
		other := takeOver(t, v)
		close(takenOver)
		for d := m1; string(d.Body) != "m6"; {
			d = harness.Next(t, deliveries)
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
		if lost := lost(v); !slices.Equal(lost, []string{"m6"}) {
			t.Errorf("lost: %v, want m6. Does amqp091-go tell old delivery tags from new ones now?", lost)
		}
	})

	t.Run("a session does not", func(t *testing.T) {
		v := newQueue(t)
		cut, takenOver := make(chan struct{}), make(chan struct{})
		done := make(chan error)
		go func() {
			var m1 amqp.Delivery
			done <- amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
				again := m1.Acknowledger != nil
				if again {
					<-takenOver
				}
				if err := s.Qos(5); err != nil {
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
		other := takeOver(t, v)
		close(takenOver)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		if lost := lost(v); len(lost) > 0 {
			t.Errorf("lost: %v", lost)
		}
	})
}

// A broker that still counts the lost connection may refuse a new one for lack of room. The
// consumer must try again.
func TestConsumerWaitsForRoomForItsConnection(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	broker := harness.SharedBroker(t)
	p := harness.StartConsumer(t, v.URL, "receive")
	broker.Ctl("set_vhost_limits", "-p", v.Name, `{"max-connections":0}`)
	v.CloseConnections("make room")
	p.Await("is reached; connecting again")
	broker.Ctl("clear_vhost_limits", "-p", v.Name)
	p.Await(" [!] connected again")
	p.Await(harness.WaitingForMessages)
	p.Stop()
}
