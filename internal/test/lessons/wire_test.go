package lessons_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// Each program declares exactly what the ports in other languages declare: RabbitMQ refuses a
// declaration that differs in one argument.
func TestProgramsDeclareWhatTheOtherPortsDeclare(t *testing.T) {
	t.Parallel()
	const temporary = "queue amq.gen: exclusive"
	want := map[string][]string{
		"send":                {"queue hello: durable x-queue-type=quorum"},
		"receive":             {"queue hello: durable x-queue-type=quorum"},
		"new_task":            {"queue task_queue: durable x-queue-type=quorum"},
		"worker":              {"queue task_queue: durable x-queue-type=quorum"},
		"emit_log":            {"fanout logs:"},
		"receive_logs":        {"fanout logs:", temporary},
		"emit_log_direct":     {"direct direct_logs:"},
		"receive_logs_direct": {"direct direct_logs:", temporary},
		"emit_log_topic":      {"topic topic_logs:"},
		"receive_logs_topic":  {temporary, "topic topic_logs:"},
		"rpc_server":          {"queue rpc_queue: durable x-queue-type=quorum"},
		"rpc_client":          {temporary, "queue rpc_queue: durable x-queue-type=quorum"},
		"pipeline_submit":     {"queue pipeline_numbers: durable x-queue-type=quorum"},
		"pipeline_stage":      {"queue pipeline_numbers: durable x-queue-type=quorum", "queue pipeline_results: durable x-queue-type=quorum"},
		"pipeline_collect":    {"queue pipeline_results: durable x-queue-type=quorum"},
		"retry_task":          {"queue retry_tasks: durable x-queue-type=quorum"},
		"retry_worker": {"queue retry_parked: durable x-queue-type=quorum", "queue retry_tasks: durable x-queue-type=quorum",
			waitQueue(1), waitQueue(2), waitQueue(4)},
	}
	check := func(program string, run func(*testing.T, *harness.Vhost)) {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			run(t, v)
			if got := declared(v); !slices.Equal(got, want[program]) {
				t.Errorf("declared\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want[program], "\n"))
			}
		})
	}
	for _, program := range harness.Publishers() {
		check(program, func(t *testing.T, v *harness.Vhost) { harness.Run(t, v.URL, 0, program) })
	}
	for _, c := range harness.Consumers() {
		check(c.Program, func(t *testing.T, v *harness.Vhost) { c.Start(t, v.URL) })
	}
	check("rpc_client", func(t *testing.T, v *harness.Vhost) {
		harness.Start(t, v.URL, "rpc_client")
		v.AwaitReady("rpc_queue", 1) // a request, so all that the client needs is declared
	})
}

// waitQueue describes a queue of lesson 9 whose messages expire back into the queue of tasks.
func waitQueue(ttl int) string {
	return fmt.Sprintf("queue retry_wait_%d: durable x-dead-letter-exchange= x-dead-letter-routing-key=retry_tasks "+
		"x-message-ttl=%d x-queue-type=quorum", ttl, ttl)
}

// declared returns how each queue and each exchange was declared, in alphabetical order.
func declared(v *harness.Vhost) (all []string) {
	type entity struct {
		Name                         string
		Type                         string // of an exchange
		Durable, Exclusive, Internal bool
		AutoDelete                   bool `json:"auto_delete"`
		Arguments                    map[string]any
	}
	describe := func(kind string, e entity) {
		text := kind + " " + e.Name + ":"
		for _, property := range []struct {
			name string
			is   bool
		}{
			{"durable", e.Durable}, {"exclusive", e.Exclusive}, {"auto-delete", e.AutoDelete}, {"internal", e.Internal},
		} {
			if property.is {
				text += " " + property.name
			}
		}
		if e.Arguments[amqp.QueueTypeArg] == amqp.QueueTypeClassic {
			delete(e.Arguments, amqp.QueueTypeArg) // RabbitMQ 4 adds its default
		}
		for _, name := range slices.Sorted(maps.Keys(e.Arguments)) {
			text += fmt.Sprintf(" %s=%v", name, e.Arguments[name])
		}
		all = append(all, text)
	}
	var queues, exchanges []entity
	v.Describe("queues", &queues)
	v.Describe("exchanges", &exchanges)
	for _, q := range queues {
		if strings.HasPrefix(q.Name, "amq.gen-") {
			q.Name = "amq.gen" // the rest is random
		}
		describe("queue", q)
	}
	for _, x := range exchanges {
		if x.Name != "" && !strings.HasPrefix(x.Name, "amq.") {
			describe(x.Type, x)
		}
	}
	slices.Sort(all)
	return all
}

func TestTemporaryQueueGoesWithItsReceiver(t *testing.T) {
	t.Parallel()
	for _, c := range harness.Consumers() {
		if c.Exchange == "" {
			continue // it shares its queue, which stays
		}
		for way, end := range map[string]func(*harness.Process){
			"stopped": (*harness.Process).Stop, "killed": (*harness.Process).Kill,
		} {
			t.Run(c.Program+" "+way, func(t *testing.T) {
				t.Parallel()
				v := harness.NewVhost(t)
				receiver := c.Start(t, v.URL)

				// Nobody else may use it.
				_, err := harness.Channel(t, v.URL).Consume(v.Queues()[0], "", true, false, false, false, nil)
				if e, ok := err.(*amqp.Error); !ok || e.Code != amqp.ResourceLocked {
					t.Errorf("consume from another connection's queue: %v", err)
				}
				end(receiver)
				harness.Eventually(t, 20*time.Second, "no queue is left", func() bool { return len(v.Queues()) == 0 })
			})
		}
	}
}
