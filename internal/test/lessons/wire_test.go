package lessons_test

import (
	"maps"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// Every program declares what the ports in other languages declare, each by
// itself and with nothing added: see DESIGN.md, section 3.
func TestWireContract(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		queue, exchange, kind string
		temporary             bool
	}{
		"send":                {queue: "hello"},
		"receive":             {queue: "hello"},
		"new_task":            {queue: "task_queue"},
		"worker":              {queue: "task_queue"},
		"emit_log":            {exchange: "logs", kind: "fanout"},
		"receive_logs":        {exchange: "logs", kind: "fanout", temporary: true},
		"emit_log_direct":     {exchange: "direct_logs", kind: "direct"},
		"receive_logs_direct": {exchange: "direct_logs", kind: "direct", temporary: true},
		"emit_log_topic":      {exchange: "topic_logs", kind: "topic"},
		"receive_logs_topic":  {exchange: "topic_logs", kind: "topic", temporary: true},
		"rpc_server":          {queue: "rpc_queue"},
		"rpc_client":          {queue: "rpc_queue", temporary: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := channel(t, v.URL)
			p := harness.Start(t, v.URL, name, consumers[name].args...)
			if name == "rpc_client" {
				awaitTemporaryQueue(t, v)
			} else if consumer, ok := consumers[name]; ok {
				p.Await(consumer.ready)
			} else if status := p.Wait(); status != 0 {
				t.Fatalf("exit status %d:\n%s", status, p.Output())
			}

			// What is there …
			var queues, exchanges []entity
			v.Describe("queues", &queues)
			v.Describe("exchanges", &exchanges)
			for _, q := range queues {
				if q.Arguments["x-queue-type"] == "classic" {
					delete(q.Arguments, "x-queue-type") // RabbitMQ 4 adds its default
				}
				switch {
				case q.Name == want.queue:
					if !q.Durable || q.Exclusive || q.AutoDelete || !maps.Equal(q.Arguments, map[string]any{"x-queue-type": "quorum"}) {
						t.Errorf("the queue is declared as %+v", q)
					}
				case want.temporary && strings.HasPrefix(q.Name, "amq.gen-"):
					if q.Durable || !q.Exclusive || q.AutoDelete || len(q.Arguments) > 0 {
						t.Errorf("the temporary queue is declared as %+v", q)
					}
					want.temporary = false
				default:
					t.Errorf("there is a queue %+v", q)
				}
			}
			if want.temporary {
				t.Errorf("there is no temporary queue: %+v", queues)
			}
			for _, x := range exchanges {
				switch {
				case x.Name == "" || strings.HasPrefix(x.Name, "amq."):
				case x.Name != want.exchange:
					t.Errorf("there is an exchange %+v", x)
				case x.Type != want.kind || x.Durable || x.AutoDelete || x.Internal || len(x.Arguments) > 0:
					t.Errorf("the exchange is declared as %+v", x)
				}
			}

			// … is also what another port declares.
			if want.queue != "" {
				if _, err := ch.QueueDeclarePassive(want.queue, false, false, false, false, nil); err != nil {
					t.Fatal(err)
				}
				declareQueue(t, ch, want.queue)
			} else {
				if err := ch.ExchangeDeclarePassive(want.exchange, want.kind, false, false, false, false, nil); err != nil {
					t.Fatal(err)
				}
				if err := ch.ExchangeDeclare(want.exchange, want.kind, false, false, false, false, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// An entity is a queue or an exchange as the broker describes it.
type entity struct {
	Name                         string
	Type                         string // of an exchange
	Durable, Exclusive, Internal bool
	AutoDelete                   bool `json:"auto_delete"`
	Arguments                    map[string]any
}

// The programs take part when the other port was there first.
func TestEntitiesOfAnotherPort(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := channel(t, v.URL)
	for _, queue := range []string{"hello", "task_queue", "rpc_queue"} {
		declareQueue(t, ch, queue)
	}
	for exchange, kind := range map[string]string{"logs": "fanout", "direct_logs": "direct", "topic_logs": "topic"} {
		if err := ch.ExchangeDeclare(exchange, kind, false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name := range publishers {
		harness.Run(t, v.URL, 0, name)
	}
	for name, consumer := range consumers {
		startConsumer(t, v.URL, name, consumer.args...)
	}
}

func TestTemporaryQueueGoesWithItsReceiver(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"receive_logs", "receive_logs_direct", "receive_logs_topic"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			receiver := startConsumer(t, v.URL, name, consumers[name].args...)
			queue := awaitTemporaryQueue(t, v)

			// Nobody else may use it.
			_, err := channel(t, v.URL).Consume(queue, "", true, false, false, false, nil)
			if e, ok := err.(*amqp.Error); !ok || e.Code != amqp.ResourceLocked {
				t.Errorf("consume from another connection's queue: %v", err)
			}
			receiver.Stop()
			harness.Eventually(t, soon, "no queue is left", func() bool { return len(v.Queues()) == 0 })

			// Nor is it left by one that was killed.
			receiver = startConsumer(t, v.URL, name, consumers[name].args...)
			awaitTemporaryQueue(t, v)
			receiver.Kill()
			harness.Eventually(t, soon, "no queue is left", func() bool { return len(v.Queues()) == 0 })
		})
	}
}
