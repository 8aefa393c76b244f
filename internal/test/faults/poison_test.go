package faults_test

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// A worker that dies of a task leaves it to the next worker, which dies of it as well. A
// policy ends that, without declaring the queue anew.
func TestPoisonTaskIsDeadLetteredAfterTheDeliveryLimit(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "dead_tasks")
	harness.DeclareQueue(t, ch, "task_queue")
	harness.Publish(t, ch, "", "task_queue", "poison..........", "good")
	harness.SharedBroker(t).Ctl("set_policy", "-p", v.Name, "poison", "^task_queue$",
		`{"delivery-limit":3,"dead-letter-exchange":"","dead-letter-routing-key":"dead_tasks"}`)

	// Each worker crashes as soon as it has received the poison.
	crashes := 0
	for {
		worker := harness.Start(t, v.URL, "worker")
		worker.Await(" [x] Received ")
		got := receivedBy(worker)[0]
		if got.task == "good" {
			worker.Await(" [x] Done")
			worker.Stop()
			break
		}
		if got.redelivered != (crashes > 0) {
			t.Errorf("after %d crashes the task is marked as redelivered: %v", crashes, got.redelivered)
		}
		worker.Kill()
		if crashes++; crashes == 10 {
			t.Fatalf("the task has crashed %d workers and is still there", crashes)
		}
	}
	if crashes != 4 { // of the first delivery, and of three more
		t.Errorf("the task has crashed %d workers, want 4", crashes)
	}

	dead := harness.Next(t, harness.Consume(t, ch, "dead_tasks", 1))
	deaths, _ := dead.Headers["x-death"].([]any)
	if string(dead.Body) != "poison.........." || len(deaths) != 1 {
		t.Fatalf("dead_tasks holds %q with the deaths %v", dead.Body, deaths)
	}
	death, _ := deaths[0].(amqp.Table)
	if death["reason"] != "delivery_limit" || death["queue"] != "task_queue" {
		t.Errorf("the task died of %v in %v", death["reason"], death["queue"])
	}
	if q := v.Queue("task_queue"); q.Ready != 0 || q.Consumers != 0 {
		t.Errorf("what is left in task_queue: %+v", q)
	}
}

// The limit is for tasks that crash a worker. A task that a worker hands back because it was
// asked to stop should not count towards the limit. The programs use basic.nack for that,
// which RabbitMQ 4.3 does not count. Older versions count every return.
func TestWhatCountsTowardsTheDeliveryLimit(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	v.SetPolicy("limit", "^task", map[string]any{
		"delivery-limit": 2, "dead-letter-exchange": "", "dead-letter-routing-key": "dead",
	})
	version := harness.SharedBroker(t).Version()

	main := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, main, "dead")
	died := harness.Consume(t, main, "dead", 0)

	for _, way := range []struct {
		name   string
		give   func(amqp.Delivery, *amqp.Channel) error
		counts bool
	}{
		{"nack", func(d amqp.Delivery, _ *amqp.Channel) error { return d.Nack(false, true) }, countsNacks(version)},
		{"reject", func(d amqp.Delivery, _ *amqp.Channel) error { return d.Reject(true) }, true},
		{"channel lost", func(_ amqp.Delivery, ch *amqp.Channel) error { return ch.Close() }, true},
	} {
		queue := "task " + way.name
		ch := harness.Channel(t, v.URL)
		harness.DeclareQueue(t, ch, queue)
		harness.Publish(t, ch, "", queue, "task")
		deliveries := harness.Consume(t, ch, queue, 1)
		timeout := time.After(time.Minute)
		returns, dead := 0, false
		for !dead && returns < 6 {
			select {
			case d := <-deliveries:
				if err := way.give(d, ch); err != nil {
					t.Fatal(err)
				}
				returns++
				if ch.IsClosed() {
					ch = harness.Channel(t, v.URL)
					deliveries = harness.Consume(t, ch, queue, 1)
				}
			case <-died:
				dead = true
			case <-timeout:
				t.Fatalf("%s: neither delivered again nor dead after %d returns", way.name, returns)
			}
		}
		t.Logf("RabbitMQ %s, delivery limit 2, %s: dead %v after %d returns", version, way.name, dead, returns)
		// The limit allows two redeliveries, so that the third return is one too many.
		if dead != way.counts || dead && returns != 3 {
			t.Errorf("%s counts: %v, want %v", way.name, dead, way.counts)
		}
	}
}

// countsNacks reports whether this version of RabbitMQ counts a nack towards the delivery limit.
func countsNacks(version string) bool {
	return strings.HasPrefix(version, "3.") || strings.HasPrefix(version, "4.0.") ||
		strings.HasPrefix(version, "4.1.") || strings.HasPrefix(version, "4.2.")
}

// The stage tries a number more often than the limit allows, but its result is refused each time: the number
// is not to blame, and stays. A RabbitMQ that counts nacks gives it up all the same.
func TestARefusedResultIsNotCountedAgainstItsNumber(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	limitAndFill(t, v, "pipeline_numbers", "pipeline_results")
	stage := harness.StartConsumer(t, v.URL, "pipeline_stage")
	harness.Run(t, v.URL, 0, "pipeline_submit", "30")
	if countsNacks(harness.SharedBroker(t).Version()) {
		v.AwaitQueue("dead", 1, 0)
		stage.Stop()
		return
	}
	harness.WantFailureAtLast(t, stage)
	v.AwaitQueue("pipeline_numbers", 1, 0)
	v.AwaitQueue("dead", 0, 0)
}

func TestARefusedTaskStaysParked(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := limitAndFill(t, v, "retry_parked", "retry_tasks")
	harness.DeclareQueue(t, ch, "retry_parked")
	harness.Publish(t, ch, "", "retry_parked", "given up")
	if countsNacks(harness.SharedBroker(t).Version()) {
		harness.Run(t, v.URL, 0, "retry_worker", "-unpark")
		v.AwaitQueue("dead", 1, 0)
		return
	}
	harness.Run(t, v.URL, 1, "retry_worker", "-unpark")
	v.AwaitQueue("retry_parked", 1, 0)
	v.AwaitQueue("dead", 0, 0)
}

// limitAndFill limits the queue to two redeliveries: the third return leads to the queue "dead". And
// it fills the queue next.
func limitAndFill(t *testing.T, v *harness.Vhost, queue, next string) *amqp.Channel {
	t.Helper()
	v.SetPolicy("limit", "^"+queue+"$", map[string]any{
		"delivery-limit": 2, "dead-letter-exchange": "", "dead-letter-routing-key": "dead",
	})
	v.SetPolicy("full", "^"+next+"$", map[string]any{"max-length": 1, "overflow": "reject-publish"})
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "dead")
	harness.DeclareQueue(t, ch, next)
	harness.Publish(t, ch, "", next, "in the way", "and another")
	return ch
}
