package bench_test

import (
	"fmt"
	"io"
	"log"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

// BenchmarkCluster compares one node with three, which share the processors of this machine. Each
// publisher and each consumer is a process, but for the sessions at the end.
func BenchmarkCluster(b *testing.B) {
	node := harness.StartBroker(b)
	v := node.NewVhost()
	one := &site{by: "1_node", nodes: []*harness.Broker{node}, vhost: v, urls: v.URL}
	cluster := harness.StartCluster(b, func(int, *broker.Config) {})
	v, urls := cluster.NewVhost()
	three := &site{by: "3_nodes", nodes: cluster.Nodes, vhost: v, urls: urls}
	for range 30 {
		one.clients = append(one.clients, golang(b, "amqpx", one.urls))
		three.clients = append(three.clients, golang(b, "amqpx", three.urls))
	}

	for _, n := range []int{1, 3, 10, 30} {
		compareSites(b, fmt.Sprintf("queues=%d", n), one, three, func(b *testing.B, s *site) {
			queues := s.declare(b, n)
			b.ReportMetric(s.rate(b, n, 60_000, "publish", queues, "10 100"), "published/s")
			b.ReportMetric(s.rate(b, n, 60_000, "consume", queues, "100 each"), "consumed/s")
		})
	}
	for _, n := range []int{1, 3, 10, 30} {
		compareSites(b, fmt.Sprintf("publishers=%d", n), one, three, func(b *testing.B, s *site) {
			b.ReportMetric(s.rate(b, n, min(n*6_000, 30_000), "publish", s.declare(b, 1), "10 10"), "published/s")
		})
	}
	for _, n := range []int{1, 3, 10, 30} {
		compareSites(b, fmt.Sprintf("workers=%d", n), one, three, func(b *testing.B, s *site) {
			queue := s.declare(b, 1)
			total := min(n*2_000, 12_000)
			s.rate(b, 1, total, "publish", queue, "10 1000")
			b.ReportMetric(s.rate(b, n, total, "consume", queue, "1 each"), "consumed/s")
		})
	}
	compareSites(b, "sessions=1000", one, three, func(b *testing.B, s *site) { s.loseNode(b, 1000) })
}

// A site is one node or a cluster.
type site struct {
	by      string
	nodes   []*harness.Broker
	vhost   *harness.Vhost
	urls    string
	clients []*client
}

func compareSites(b *testing.B, name string, one, three *site, work func(*testing.B, *site)) {
	b.Run(name, func(b *testing.B) {
		for range *rounds {
			var twins []twin
			for _, s := range []*site{one, three} {
				twins = append(twins, twin{s.by, func(b *testing.B) {
					work(b, s)
					b.ReportMetric(0, "ns/op")
				}})
			}
			inTurn(b, twins...)
		}
	})
}

// declare makes n empty queues, until the end of b. A queue's leader is on the node where it is declared,
// so the nodes share the leaders.
func (s *site) declare(b *testing.B, n int) (queues []string) {
	for i := range n {
		name := fmt.Sprintf("bench-%d", i)
		harness.DeclareQueue(b, dial(b, s.nodes[i%len(s.nodes)].URL()+s.vhost.Name), name)
		queues = append(queues, name)
	}
	b.Cleanup(func() {
		for _, name := range queues {
			s.vhost.DeleteQueue(name)
		}
	})
	return queues
}

// rate lets n clients publish or consume total messages between them, each with a queue of its own if
// there are so many. how ends each client's line. rate returns how many messages a second they did
// together, from the first to begin until the last to end.
func (s *site) rate(b *testing.B, n, total int, role string, queues []string, how string) float64 {
	var ends []func() run
	for i, c := range s.clients[:n] {
		ends = append(ends, c.begin(b, role, queues[i%len(queues)], total/n, "%s", how))
	}
	first, last := math.Inf(1), 0.0
	for _, end := range ends {
		r := end()
		first, last = min(first, r.began), max(last, r.began+r.seconds)
	}
	return float64(total/n*n) / (last - first)
}

// loseNode kills a node while many sessions of one process consume. It measures how long after the kill
// the first, half, and all of the lost sessions consume again. A single node is started again at once.
func (s *site) loseNode(b *testing.B, sessions int) {
	defer log.SetOutput(log.Writer())
	log.SetOutput(io.Discard) // each session says that it is lost
	queue := s.declare(b, 1)[0]
	last := s.nodes[len(s.nodes)-1]
	last.SaveQueues()

	consumes := make(chan time.Time, 2*sessions)
	var consuming atomic.Int64 // the broker also counts consumers whose node is dead
	for range sessions {
		defer openAmqpx(b, s.urls, queue, func(change int64) {
			if change > 0 {
				consumes <- time.Now()
			}
			consuming.Add(change)
		})()
		if b.Failed() {
			return
		}
	}
	for range sessions {
		<-consumes
	}

	killed := time.Now()
	last.Kill()
	if len(s.nodes) == 1 {
		last.Up()
	}
	harness.Eventually(b, time.Minute, "all sessions are back", func() bool {
		return len(consumes) > 0 && consuming.Load() == int64(sessions)
	})
	var back []float64
	for range len(consumes) {
		back = append(back, (<-consumes).Sub(killed).Seconds())
	}
	slices.Sort(back)
	b.ReportMetric(float64(len(back)), "lost")
	b.ReportMetric(back[0], "s-first")
	b.ReportMetric(back[len(back)/2], "s-half")
	b.ReportMetric(back[len(back)-1], "s-all")
	if len(s.nodes) > 1 {
		last.Up()
	}
}
