package faults_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// publishTimeout is how long a publisher keeps trying.
const publishTimeout = 30 * time.Second

// During a memory alarm, the broker reads nothing from a connection that publishes, not
// even that it wants to close.
func TestBlockedPublishersSaySoAndLoseNothing(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	raise := func() { broker.Ctl("set_vm_memory_high_watermark", "absolute", "1") }
	lower := func() { broker.Ctl("set_vm_memory_high_watermark", "0.9") }
	blocking := " [!] the broker is blocking publishers: low on memory"

	url := broker.NewVhost().URL
	ch := harness.Channel(t, url)
	harness.DeclareQueue(t, ch, "rpc_queue")
	request := amqp.Publishing{ReplyTo: "hello", Body: []byte("10000")}
	harness.PublishMessages(t, ch, "", "rpc_queue", slices.Repeat([]amqp.Publishing{request}, 2000)...) // too many answers for the buffers
	server := harness.StartConsumer(t, broker.NewVhost().URL, "rpc_server")

	// What these programs take out of their queues leads to a message in another queue.
	movers := []struct {
		vhost   *harness.Vhost
		queue   string
		command []string
	}{
		{broker.NewVhost(), "pipeline_numbers", []string{"pipeline_stage"}},
		{broker.NewVhost(), "retry_tasks", []string{"retry_worker"}},
		{broker.NewVhost(), "retry_parked", []string{"retry_worker", "-unpark"}},
	}
	for _, m := range movers {
		ch := harness.Channel(t, m.vhost.URL)
		harness.DeclareQueue(t, ch, m.queue)
		harness.Publish(t, ch, "", m.queue, "10!")
	}
	raise()

	t.Run("publisher", func(t *testing.T) {
		// Each of these says that it is blocked, and its user stops it.
		for program, args := range map[string][]string{
			"send":               nil,
			"new_task":           {strings.Repeat("x", 100_000)},
			"emit_log":           nil,
			"emit_log_direct":    nil,
			"emit_log_topic":     nil,
			"rpc_client":         {"-timeout=1m", "10", "20"},
			"publisher_confirms": {"-size=16000000"},
		} {
			t.Run(program, func(t *testing.T) {
				t.Parallel()
				p := harness.Start(t, broker.NewVhost().URL, program, args...)
				p.Await(blocking)
				wantEnd(t, p, time.Second+slack)
				if slices.ContainsFunc(p.Stdout(), func(line string) bool { return strings.Contains(line, "Sent") }) {
					t.Errorf("it says that it has sent a message:\n%s", p.Output())
				}
			})
		}
		// This one keeps trying until it gives up.
		t.Run("to the end", func(t *testing.T) {
			t.Parallel()
			p := harness.Start(t, broker.NewVhost().URL, "new_task")
			blocked := p.Await(blocking).At
			if status, took := p.Wait(), time.Since(blocked); status != 1 || took > publishTimeout+slack {
				t.Errorf("exit status %d after %v", status, took)
			}
			want := `publish to queue "task_queue": no confirm from the broker: whether it has the message is unknown: gave up at the deadline. Look at the queue before you publish it again (in a cluster, more than half of the queue's nodes must be up)`
			if lines := p.Stderr(); len(lines) != 2 || lines[1] != " [!] "+want {
				t.Errorf("stderr is %q", lines)
			}
		})
		t.Run("of three ways, to the end", func(t *testing.T) {
			t.Parallel()
			p := harness.Start(t, broker.NewVhost().URL, "publisher_confirms", "-n=10")
			p.Await(blocking)
			if status := p.Wait(); status != 1 || !strings.Contains(p.Stderr()[len(p.Stderr())-1], "gave up after 30s without a confirm") {
				t.Errorf("exit status %d, stderr is %q", status, p.Stderr())
			}
		})
		t.Run("of requests, to the end", func(t *testing.T) {
			t.Parallel()
			p := harness.Run(t, broker.NewVhost().URL, 1, "rpc_client", "-timeout=3s")
			if lines := p.Stderr(); len(lines) != 2 || lines[0] != blocking || !strings.Contains(lines[1], "no answer within 3s") {
				t.Errorf("stderr is %q", lines)
			}
		})
		t.Run("of many messages", func(t *testing.T) {
			t.Parallel()
			testBlockedPublisher(t, broker.NewVhost().URL)
		})
		// Ctrl+C leaves them five seconds for the message in hand. It stays where it was.
		for _, m := range movers {
			t.Run("that empties "+m.queue, func(t *testing.T) {
				t.Parallel()
				p := harness.Start(t, m.vhost.URL, m.command[0], m.command[1:]...)
				p.Await(blocking)
				wantEnd(t, p, 6*time.Second+slack)
				wantStderr(t, p, " [!] stopped: publish to queue")
				m.vhost.AwaitQueue(m.queue, 1, 0)
			})
		}
		t.Run("of answers", func(t *testing.T) {
			t.Parallel()
			p := harness.Start(t, url, "rpc_server", "-prefetch=0")
			p.Await(blocking)
			harness.Eventually(t, time.Minute, "the server is stuck", stands(func() int { return len(p.Stdout()) }))
			wantEnd(t, p, time.Second+slack)
		})
		t.Run("that has nothing to publish", func(t *testing.T) {
			t.Parallel()
			wantEnd(t, server, time.Second+slack)
		})
	})

	t.Run("the alarm clears", func(t *testing.T) {
		url := broker.NewVhost().URL
		task := harness.Start(t, url, "new_task", "a", "task")
		client := harness.Start(t, url, "rpc_client", "-timeout=1m", "10")
		messages := harness.Start(t, url, "publisher_confirms", "-n=10", "-size=1000000")
		for _, p := range []*harness.Process{task, client, messages} {
			p.Await(blocking)
		}
		lower()
		for _, p := range []*harness.Process{task, client, messages} {
			p.Await(" [!] the broker takes messages again")
		}
		server := harness.Start(t, url, "rpc_server")
		client.Await(" [.] Got 55")
		task.Await(" [x] Sent a task")
		messages.Await(" [x] asynchronously:")
		for _, p := range []*harness.Process{task, client, messages} {
			p.Exits(0)
		}
		server.Stop()
	})
}

// stands returns a condition that holds when value is above 0 and has not changed for a second.
func stands(value func() int) func() bool {
	last, since := -1, time.Now()
	return func() bool {
		if now := value(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > time.Second
	}
}

// testBlockedPublisher publishes from several goroutines in one session until its socket is full. When
// they are stopped, each must learn why its message is not confirmed.
func testBlockedPublisher(t *testing.T, url string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const goroutines = 5
	var begun atomic.Int32
	fates := make(chan error, goroutines)
	ended := make(chan error, 1)
	go func() {
		ended <- amqpx.Run(ctx, url, func(s *amqpx.Session) error {
			queue, err := s.DeclareQueue(amqpx.Queue{Name: "hello", Durable: true, Type: amqp.QueueTypeQuorum})
			if err != nil {
				return err
			}
			var publishers sync.WaitGroup
			for range goroutines {
				publishers.Go(func() {
					begun.Add(1)
					to := amqpx.Route{RoutingKey: queue.Name, Mandatory: true}
					fates <- s.PublishConfirmed(ctx, to, amqp.Publishing{Body: make([]byte, 8e6)})
				})
			}
			publishers.Wait()
			return amqpx.ErrUnconfirmed
		})
	}()
	harness.Eventually(t, time.Minute, "the publishers are stuck", stands(func() int { return int(begun.Load()) }))

	start := time.Now()
	cancel()
	if err := <-ended; !errors.Is(err, amqpx.ErrUnconfirmed) {
		t.Errorf("Run = %v", err)
	}
	if took := time.Since(start); took > time.Second+slack {
		t.Errorf("the end took %v", took)
	}
	inDoubt := 0 // at least the one that is stuck in a write; the others may still be waiting for their turn
	for range goroutines {
		err := <-fates
		if errors.Is(err, amqpx.ErrUnconfirmed) {
			inDoubt++
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the fate of a message: %v, want %v", err, context.Canceled)
		}
	}
	if inDoubt == 0 {
		t.Error("no message is in doubt, though one was being written")
	}
}
