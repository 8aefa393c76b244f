package harness

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/broker"
)

// A Cluster is three brokers of a test's own that share their virtual hosts and queues.
type Cluster struct {
	Nodes []*Broker

	t     testing.TB
	nodes broker.Cluster
}

// StartCluster starts a cluster for this test alone (20 to 60 s), and removes it when the test ends. place
// may change the configuration of a node, numbered from 0.
func StartCluster(t testing.TB, place func(node int, config *broker.Config)) *Cluster {
	t.Helper()
	nodes, err := broker.OpenCluster(OwnConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{nil, t, nodes}
	for i, node := range nodes {
		place(i, &node.Config)
		removeAtEnd(t, node)
		c.Nodes = append(c.Nodes, &Broker{t, node, false})
	}
	c.Up()
	return c
}

// Up starts those nodes that do not run, and waits until all three know each other.
func (c *Cluster) Up() { c.t.Helper(); c.do(c.nodes.Start) }

// Stop shuts down the nodes that run, in order; their data stays.
func (c *Cluster) Stop() { c.t.Helper(); c.do(c.nodes.Stop) }

func (c *Cluster) do(what func(context.Context) error) {
	c.t.Helper()
	if err := what(context.Background()); err != nil {
		c.t.Fatal(err)
	}
}

// SaveQueues is [Broker.SaveQueues] for all nodes.
func (c *Cluster) SaveQueues() {
	c.t.Helper()
	c.Nodes[0].Ctl("eval", "{_, []} = rpc:multicall(dets, sync, [ra_directory_reverse]).")
}

// NewVhost makes a virtual host, which asks the first node, and returns the URLs that lead to it by any node.
func (c *Cluster) NewVhost() (v *Vhost, urls string) {
	v = c.Nodes[0].NewVhost()
	return v, c.Nodes[1].URL() + v.Name + "," + v.URL + "," + c.Nodes[2].URL() + v.Name
}

// Leader waits until one of the running nodes leads the queue, and returns it.
func (c *Cluster) Leader(vhost, queue string) (leader *Broker) {
	c.t.Helper()
	Eventually(c.t, deadline, "the queue has a leader", func() bool {
		running := slices.DeleteFunc(slices.Clone(c.Nodes), func(b *Broker) bool { return !b.node.Running() })
		var told struct{ Leader string }
		if API(running[0].ManagementURL(), http.MethodGet, "/queues/"+vhost+"/"+queue, nil, &told) != nil {
			return false
		}
		i := slices.IndexFunc(running, func(b *Broker) bool { return told.Leader == b.node.NodeName() })
		if i >= 0 {
			leader = running[i]
		}
		return i >= 0
	})
	return leader
}

// AwaitMembers waits until all three nodes are up and know it, and so are the queue's replicas on them. It
// asks rabbitmqctl for these: after a partition, the console shows old figures for a minute.
func (c *Cluster) AwaitMembers(vhost, queue string) {
	c.t.Helper()
	Eventually(c.t, 3*time.Minute, "the queue is up on three nodes", func() bool {
		for _, node := range c.Nodes {
			if node.Sees() < 3 {
				return false
			}
		}
		queues, err := c.nodes[0].Ctl(context.Background(), "-q", "list_queues", "-p", vhost, "--no-table-headers", "name", "online")
		return err == nil && regexp.MustCompile(`(?m)^`+queue+`\t.*@.*@.*@`).MatchString(queues)
	})
}

// Sees returns how many nodes of its cluster run, as far as this one knows: none if it does not answer.
func (b *Broker) Sees() (running int) {
	var nodes []struct{ Running bool }
	API(b.ManagementURL(), http.MethodGet, "/nodes", nil, &nodes)
	for _, node := range nodes {
		if node.Running {
			running++
		}
	}
	return running
}
