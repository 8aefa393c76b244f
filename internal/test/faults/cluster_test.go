package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// One cluster is enough for all that happens to it: starting it takes long. With -soak, nodes are also killed
// at random, restarted one after another, and cut off.
func TestNoTaskIsLostWhenNodesOfAClusterDie(t *testing.T) { // not parallel: three nodes are load enough
	var l *links
	if *soak {
		l = newLinks(t)
	}
	c := harness.StartCluster(t, l.place)
	loseMajority(t, c)
	if *soak {
		killNodes(t, c)
		restartOneByOne(t, c)
	}
	if l != nil {
		cutOff(t, c, l)
	}
}

// Tasks stream through four workers, while nodes are killed at random and come back.
func killNodes(t *testing.T, c *harness.Cluster) {
	const kills = 10
	v, urls := c.NewVhost()
	s := newStream(t, c, v, urls, urls, 50_000)
	others := map[*harness.Process]harness.Consumer{}
	for _, consumer := range harness.Consumers() {
		if consumer.Program != "worker" {
			others[consumer.Start(t, urls)] = consumer
		}
	}
	c.SaveQueues()
	var pauses []time.Duration
	for i := range kills {
		s.awaitConfirmed(s.tasks * (i + 1) / (kills + 2))
		victim := c.Nodes[rand.IntN(3)]
		if i == 0 {
			victim = c.Leader(v.Name, "task_queue")
		}
		pauses = append(pauses, s.pause(victim.Kill))
		victim.Up()
		c.AwaitMembers(v.Name, "task_queue")
	}
	summary := s.end()
	slices.Sort(pauses)
	t.Logf("RabbitMQ %s: %d nodes killed, %s; pause: median %.1f s, maximum %.1f s",
		c.Nodes[0].Version(), kills, summary, pauses[kills/2].Seconds(), pauses[kills-1].Seconds())

	// What lessons 3 to 5 declare was gone with its node, and the programs have declared it again.
	ch := harness.Channel(t, v.URL)
	for p, consumer := range others {
		harness.Eventually(t, time.Minute, consumer.Program+" consumes", func() bool {
			harness.PublishMessages(t, ch, consumer.Exchange, consumer.Key, forAll("7"))
			return slices.ContainsFunc(p.Stdout(), func(line string) bool { return strings.HasPrefix(line, consumer.Prints+"7") })
		})
		p.Stop()
	}
}

// As for an upgrade: each node is stopped in order and started again, and the next one waits until the
// queue has all its replicas.
func restartOneByOne(t *testing.T, c *harness.Cluster) {
	v, urls := c.NewVhost()
	s := newStream(t, c, v, urls, urls, 6000)
	for i, node := range c.Nodes {
		s.awaitConfirmed(s.tasks * (i + 1) / 5)
		node.Stop()
		node.Up()
		c.AwaitMembers(v.Name, "task_queue")
	}
	t.Logf("RabbitMQ %s, restarted one by one: %s", c.Nodes[0].Version(), s.end())
}

// The queue's leader is killed, and another node leads it. Then that one is killed, too: less than half is
// left, and a queue confirms nothing. What is left is stopped, and the whole cluster is started again.
func loseMajority(t *testing.T, c *harness.Cluster) {
	v, urls := c.NewVhost()
	s := newStream(t, c, v, urls, urls, size(300, 3000))
	c.SaveQueues()
	s.awaitConfirmed(s.tasks / 4)
	first := c.Leader(v.Name, "task_queue")
	pause := s.pause(first.Kill)
	second := c.Leader(v.Name, "task_queue")
	alone := c.Nodes[slices.IndexFunc(c.Nodes, func(b *harness.Broker) bool { return b != first && b != second })]
	s.pause(func() {
		second.Kill()
		line := harness.WantFailureAtLast(t, harness.Start(t, alone.URL()+v.Name, "new_task", "In vain"))
		t.Log(line)
		if !strings.Contains(line, "more than half") {
			t.Errorf("it does not say what is missing: %q", line)
		}
		c.Stop()
		c.Up()
	})
	c.AwaitMembers(v.Name, "task_queue")
	t.Logf("RabbitMQ %s: leader killed, no task for %.1f s; majority lost; all stopped and started; %s",
		c.Nodes[0].Version(), pause.Seconds(), s.end())
}

// A stream publishes numbered tasks to task_queue, from a hundred goroutines, until it is told to end and
// has published enough of them. It has four workers that do them.
type stream struct {
	t         *testing.T
	v         *harness.Vhost
	tasks     int // at least so many
	workers   []*harness.Process
	enough    chan struct{} // closed when no more are wanted
	published sync.WaitGroup

	mu        sync.Mutex
	messages  []*amqp.Publishing // so far
	confirmed map[string]int     // how often

	twice bool // an acknowledged task may be done again
}

func newStream(t *testing.T, c *harness.Cluster, v *harness.Vhost, workersURL, publishersURL string, tasks int) *stream {
	s := &stream{t: t, v: v, tasks: tasks, enough: make(chan struct{}), confirmed: make(map[string]int)}
	// RabbitMQ 4 would give a task up after 20 redeliveries.
	v.SetPolicy("no limit here", "^task_queue$", map[string]any{"delivery-limit": 10_000})
	for range 4 {
		s.workers = append(s.workers, harness.StartConsumer(t, workersURL, "worker"))
	}
	c.AwaitMembers(v.Name, "task_queue")
	pace := time.NewTicker(time.Second / time.Duration(size(50, 200))) // as fast as workers on a slow machine
	next := func() *amqp.Publishing {
		select {
		case <-s.enough:
			if s.number() >= tasks {
				return nil
			}
		case <-pace.C:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		msg := persistent(fmt.Sprintf("task %d", len(s.messages)))
		s.messages = append(s.messages, &msg)
		return &msg
	}
	confirmed := func(msg *amqp.Publishing) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.confirmed[msg.MessageId]++
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.published.Go(func() {
		if err := publishSideBySide(ctx, publishersURL, "task_queue", 100, next, confirmed); err != nil && ctx.Err() == nil {
			t.Errorf("publish: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		s.published.Wait()
		pace.Stop()
	})
	return s
}

// number returns how many different tasks there are so far.
func (s *stream) number() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.messages)
}

func (s *stream) awaitConfirmed(n int) {
	s.t.Helper()
	harness.Eventually(s.t, 5*time.Minute, fmt.Sprintf("%d tasks are confirmed", n), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.confirmed) >= n
	})
}

// awaitReceived waits until a worker has received, after since, a task with the number n or a higher one,
// and returns when.
func (s *stream) awaitReceived(n int, since time.Time) (at time.Time) {
	s.t.Helper()
	harness.Eventually(s.t, 5*time.Minute, fmt.Sprintf("task %d or a later one is received", n), func() bool {
		for _, worker := range s.workers {
			for _, line := range slices.Backward(worker.Lines()) {
				if line.At.Before(since) {
					break
				}
				number := -1
				fmt.Sscanf(line.Text, " [x] Received task %d", &number)
				if number >= n && (at.IsZero() || line.At.Before(at)) {
					at = line.At
				}
			}
		}
		return !at.IsZero()
	})
	return at
}

// pause returns how long it is from the beginning of do until a task that was published after do is received.
func (s *stream) pause(do func()) time.Duration {
	s.t.Helper()
	began := time.Now()
	do()
	return s.awaitReceived(s.number(), began).Sub(began)
}

// end waits until every task is done, stops the workers, and checks that no task was lost or done again
// without need.
func (s *stream) end() (summary string) {
	s.t.Helper()
	close(s.enough)
	s.published.Wait()
	s.v.AwaitQueue("task_queue", 0, 0)
	acknowledged, done := make(map[string]int), make(map[string]int)
	received, sessions := 0, 0
	for _, worker := range s.workers {
		worker.Stop()
		lines := worker.Stdout()
		for i, line := range lines {
			task, ok := strings.CutPrefix(line, " [x] Received ")
			if line == harness.WaitingForMessages {
				sessions++
			}
			if !ok {
				continue
			}
			received++
			task, _ = strings.CutSuffix(task, " (redelivered)")
			// With a prefetch of 1, a next task in the same session says that the queue has had the
			// acknowledgement.
			if i+1 < len(lines) && lines[i+1] == " [x] Done" {
				done[task]++
				if i+2 < len(lines) && strings.HasPrefix(lines[i+2], " [x] Received ") {
					acknowledged[task]++
				}
			}
		}
	}
	again, lost := 0, 0
	for _, msg := range s.messages {
		id := msg.MessageId
		if msg.Type == "again" {
			again++
		} else if acknowledged[id] > 1 && !s.twice {
			s.t.Errorf("%s was published once, and done again though it had been acknowledged", id)
		}
		if s.confirmed[id] != 1 {
			s.t.Errorf("%s was confirmed %d times", id, s.confirmed[id])
		}
		if done[id] == 0 {
			lost++
			s.t.Errorf("%s was confirmed and never done", id)
		}
	}
	return fmt.Sprintf("%d tasks confirmed (%d published again), %d received in %d sessions, %d lost",
		len(s.confirmed), again, received, sessions, lost)
}
