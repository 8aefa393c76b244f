package harness

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/broker"
)

// A Cluster is three brokers of a test's own that share their virtual hosts and queues.
type Cluster struct {
	Nodes []*Broker
}

// StartCluster starts a cluster for this test alone (20 to 60 s), and removes it when the test ends. Each
// of place may change the configuration of a node, numbered from 0.
func StartCluster(t testing.TB, place ...func(node int, config *broker.Config)) *Cluster {
	t.Helper()
	nodes, err := broker.OpenCluster(ownConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{}
	for i, node := range nodes {
		for _, change := range place {
			change(i, &node.Config)
		}
		removeAtEnd(t, node)
		c.Nodes = append(c.Nodes, &Broker{t, node, false})
	}
	if err := nodes.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return c
}

// NewVhost makes a virtual host, which asks the first node, and returns the URLs that lead to it by any node.
func (c *Cluster) NewVhost() (v *Vhost, urls string) {
	v = c.Nodes[0].NewVhost()
	return v, c.Nodes[1].URL() + v.Name + "," + v.URL + "," + c.Nodes[2].URL() + v.Name
}

// Leader waits until one of the running nodes leads the queue, and returns it.
func (c *Cluster) Leader(vhost, queue string) (leader *Broker) {
	t := c.Nodes[0].t
	t.Helper()
	Eventually(t, deadline, "the queue has a leader", func() bool {
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

// AwaitMembers waits, up to a minute, until the queue's replicas on all three nodes are up.
func (c *Cluster) AwaitMembers(vhost, queue string) {
	t := c.Nodes[0].t
	t.Helper()
	Eventually(t, 2*time.Minute, "the queue is up on three nodes", func() bool {
		var told struct{ Online []string }
		err := API(c.Nodes[0].ManagementURL(), http.MethodGet, "/queues/"+vhost+"/"+queue, nil, &told)
		return err == nil && len(told.Online) == 3
	})
}
