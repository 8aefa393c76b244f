package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

// patience is how long nodes may need to find each other again, and to elect a leader.
const patience = 2 * time.Minute

// cluster starts a cluster of its own, whose nodes it can kill.
func cluster(s *stage) {
	c := s.startCluster()
	s.watch("Three nodes are up, and they are one broker. Tasks stream through new_task and two workers.\n" +
		"Of these, only notes are shown from now on. Watch the leader of the queue.")
	worker1, worker2 := s.launchShowing("worker-1", "worker -unit 10ms", " [!]"), s.launchShowing("worker-2", "worker -unit 10ms", " [!]")
	workers := []process{worker1, worker2}
	for _, worker := range workers {
		worker.Await("Waiting for messages")
	}
	tasks := s.stream()
	tasks.awaitMore(5)

	first, pause1 := s.killLeader(c, tasks)
	s.restart(c, first)
	second, pause2 := s.killLeader(c, tasks)
	third := s.leader(c)

	s.watch("One more is killed. What is left of three is less than half: no queue can confirm a message.")
	s.killNode(c, third)
	refused := s.launch("sender", "new_task 'In vain'")
	refused.Wait()
	refusal := ""
	if told := refused.printed(" [!] "); len(told) > 0 {
		refusal = told[len(told)-1]
	}
	s.restart(c, second)
	tasks.awaitMore(1)
	s.restart(c, third)
	tasks.awaitMore(3)

	s.watch("A rolling restart, as for an upgrade: one node after another is stopped and started again.")
	failed := tasks.failures.Load()
	for i, node := range c {
		s.show("operator", " stopping node "+fmt.Sprint(i+1))
		s.must(node.Stop(s.ctx))
		s.restart(c, i)
		tasks.awaitMore(2)
	}
	failed = tasks.failures.Load() - failed
	confirmed, lost := tasks.end(workers)

	s.claim(first != second && second != third, "the leader moved each time: from node %d to %d to %d", first+1, second+1, third+1)
	s.claim(lost == 0, "of %d confirmed tasks, %d were lost", confirmed, lost)
	s.claim(max(pause1, pause2) < time.Minute, "after the kills, tasks were confirmed again within %.1f s and %.1f s", pause1.Seconds(), pause2.Seconds())
	s.claim(strings.Contains(refusal, "more than half"), "without a majority, new_task says so: %s", refusal)
	s.claim(failed == 0 && worker1.Running() && worker2.Running(), "in the rolling restart, no task failed and no program stopped")
	worker1.Stop()
	worker2.Stop()
}

func (s *stage) startCluster() broker.Cluster {
	wish, err := broker.FromEnv()
	if err == nil && wish.Kind == broker.External {
		err = errors.New("this lesson kills nodes, so it starts its own: unset BROKER, or set it to compose or native")
	}
	s.must(err)
	wish.Dir = filepath.Join(filepath.Dir(wish.Dir), fmt.Sprintf("demo-%d", os.Getpid()))
	wish.AMQPPort, wish.ManagementPort = 0, 0
	nodes, err := broker.OpenCluster(wish.Config)
	s.must(err)
	s.Cleanup(func() {
		if err := nodes.Destroy(context.Background()); err != nil {
			s.Errorf("remove the cluster: %w", err)
		}
	})
	s.watch("Starting three nodes, which takes half a minute.")
	s.must(nodes.Start(s.ctx))
	for i, node := range nodes {
		s.show("operator", fmt.Sprintf(" node %d: localhost:%d, console http://localhost:%d", i+1, node.AMQPPort, node.ManagementPort))
	}
	s.vhost = &vhost{url: nodes.URL()}
	return nodes
}

// must ends the lesson if there is an error.
func (s *stage) must(err error) {
	if err != nil {
		s.Fatalf("%w", err)
	}
}

// leader waits until a running node leads the queue, shows it, and returns its number, from 0.
func (s *stage) leader(c broker.Cluster) (leader int) {
	var name string
	found := s.within(patience, func() bool {
		name = taskQueue(c).Leader
		leader = slices.IndexFunc(c[:], func(node *broker.Node) bool { return node.NodeName() == name && node.Running() })
		return leader >= 0
	})
	if !found {
		s.Fatalf("the queue has no leader")
	}
	s.show("operator", fmt.Sprintf(" the leader of task_queue is node %d, %s", leader+1, name))
	return leader
}

// taskQueue asks the running nodes for the leader of task_queue, and for the nodes whose replicas are up.
func taskQueue(c broker.Cluster) (told struct {
	Leader string
	Online []string
}) {
	for _, node := range c {
		if node.Running() && harness.API(node.ManagementURL(), http.MethodGet, "/queues/%2F/task_queue", nil, &told) == nil {
			break
		}
	}
	return told // nothing, if none answers yet
}

func (s *stage) killNode(c broker.Cluster, node int) {
	s.show("operator", s.screen.paint(red, fmt.Sprintf(" node %d is killed (kill -9)", node+1)))
	s.must(c[node].Kill(s.ctx))
}

// killLeader kills the node that leads the queue. It returns which one that was, and how long after
// the kill a task was confirmed.
func (s *stage) killLeader(c broker.Cluster, tasks *stream) (leader int, pause time.Duration) {
	leader = s.leader(c)
	began := time.Now()
	s.killNode(c, leader)
	tasks.awaitMore(1)
	pause = time.Since(began)
	s.show("operator", fmt.Sprintf(" %.1f s later, the next task is confirmed", pause.Seconds()))
	return leader, pause
}

// restart starts a node again, and waits until it has its replica of the queue.
func (s *stage) restart(c broker.Cluster, i int) {
	s.must(c[i].Start(s.ctx))
	running := slices.DeleteFunc(slices.Clone(c[:]), func(node *broker.Node) bool { return !node.Running() })
	if !s.within(patience, func() bool { return len(taskQueue(c).Online) >= len(running) }) {
		s.Fatalf("node %d has no replica of the queue", i+1)
	}
	s.show("operator", fmt.Sprintf(" node %d is back", i+1))
}

// A stream runs new_task again and again.
type stream struct {
	s    *stage
	halt func() // no further task
	done chan struct{}

	confirmed []string     // complete when done is closed
	count     atomic.Int32 // of confirmed
	failures  atomic.Int32
}

func (s *stage) stream() *stream {
	ctx, halt := context.WithCancel(s.ctx)
	tasks := &stream{s: s, halt: halt, done: make(chan struct{})}
	go func() {
		defer close(tasks.done)
		for i := 1; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			task := fmt.Sprintf("Task %d.", i)
			cmd := exec.CommandContext(s.ctx, harness.Path("new_task"), task)
			cmd.Env = append(os.Environ(), "AMQP_URL="+s.vhost.url)
			if output, err := cmd.CombinedOutput(); err == nil {
				tasks.confirmed = append(tasks.confirmed, task)
				tasks.count.Add(1)
			} else if s.ctx.Err() == nil {
				s.show("stream", strings.TrimRight(string(output), "\n"))
				tasks.failures.Add(1)
			}
		}
	}()
	s.Cleanup(func() {
		halt()
		<-tasks.done
	})
	return tasks
}

// awaitMore waits until n more tasks are confirmed, from now on.
func (t *stream) awaitMore(n int32) {
	n += t.count.Load()
	if !t.s.within(patience, func() bool { return t.count.Load() >= n }) {
		t.s.Fatalf("no task is confirmed any more")
	}
}

// end ends the stream, and returns how many tasks were confirmed, and how many of them no worker has done.
func (t *stream) end(workers []process) (confirmed, lost int) {
	t.halt()
	<-t.done
	undone := func() (n int) {
		var received []string
		for _, worker := range workers {
			received = append(received, worker.printed(" [x] Received ")...)
		}
		for _, task := range t.confirmed {
			if !slices.Contains(received, task) && !slices.Contains(received, task+" (redelivered)") {
				n++
			}
		}
		return n
	}
	t.s.within(patience, func() bool { return undone() == 0 })
	return len(t.confirmed), undone()
}
