package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// A Cluster is three nodes that share their users, virtual hosts, exchanges and queues. Three is the
// smallest number of which one may fail: what is left must be more than half.
type Cluster [3]*Node

// OpenCluster returns the nodes of a cluster, in the folders config.Dir-1 to config.Dir-3. If
// config.AMQPPort is not 0, they get that port and the two after it, and their consoles likewise.
func OpenCluster(config Config) (c Cluster, err error) {
	for i := range c {
		one := config
		one.Dir = fmt.Sprintf("%s-%d", config.Dir, i+1)
		one.Member = i + 1
		if config.AMQPPort != 0 {
			one.AMQPPort = config.AMQPPort + i
			one.ManagementPort = cmp.Or(config.ManagementPort, config.AMQPPort+10_000) + i
		}
		if c[i], err = Open(one); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Start starts the nodes that do not run (15 to 30 s for a new cluster), and waits until all three know
// each other.
func (c Cluster) Start(ctx context.Context) error {
	kind, err := chooseKind(c[0].Config, func() bool { return engineAnswers(ctx) })
	if err == nil && kind == Compose {
		err = c.startCompose(ctx)
	} else if err == nil {
		err = c.startNative(ctx)
	}
	if err == nil {
		_, err = c[0].Ctl(ctx, "await_online_nodes", "3", "--timeout", "60")
	}
	return err
}

func (c Cluster) startNative(ctx context.Context) error {
	members := []*Node{c[0]}
	var fresh []*Node
	for _, node := range c[1:] {
		if node.Joined {
			members = append(members, node)
		} else {
			fresh = append(fresh, node)
		}
	}
	// At once: a node that was not the last to stop waits for one that stopped later.
	err := atOnce(members, func(node *Node) error {
		if node.Running() {
			return node.wait(ctx)
		}
		return node.Start(ctx)
	})
	if err == nil {
		err = atOnce(fresh, func(node *Node) error { return node.join(ctx, c[0]) })
	}
	return err
}

// startCompose starts all containers before it waits for one: new nodes look for each other, as
// docker-compose.yml tells them.
func (c Cluster) startCompose(ctx context.Context) error {
	for _, node := range c {
		if node.Running() {
			continue
		}
		node.Kind = Compose
		if err := errors.Join(os.MkdirAll(node.Dir, 0o755), node.takePorts()); err != nil {
			return err
		}
		if err := node.startCompose(ctx); err != nil {
			return err
		}
	}
	return atOnce(c[:], func(node *Node) error { return node.wait(ctx) })
}

// Stop shuts the nodes down that run; their data stays.
func (c Cluster) Stop(ctx context.Context) error {
	return atOnce(c[:], func(node *Node) error { return node.Stop(ctx) })
}

// Destroy ends the nodes and removes their folders with all data.
func (c Cluster) Destroy(ctx context.Context) (err error) {
	for _, node := range c {
		err = errors.Join(err, node.Destroy(ctx))
	}
	return err
}

// Running says whether any of the nodes runs.
func (c Cluster) Running() bool { return slices.ContainsFunc(c[:], (*Node).Running) }

// URL returns the AMQP URLs of the nodes, with commas between them.
func (c Cluster) URL() string { return c[0].URL() + "," + c[1].URL() + "," + c[2].URL() }

// NodeName returns the name by which RabbitMQ and rabbitmqctl know the node.
func (n *Node) NodeName() string {
	if n.Kind == Compose {
		return "rabbit@" + n.service()
	}
	return n.Name() + "@" + n.host()
}

// atOnce calls do for all nodes, and waits for all.
func atOnce(nodes []*Node, do func(*Node) error) (err error) {
	done := make(chan error)
	for _, node := range nodes {
		go func() { done <- do(node) }()
	}
	for range nodes {
		err = errors.Join(err, <-done)
	}
	return err
}

// join starts a new node as a member of the cluster of other, which runs (about 10 s).
func (n *Node) join(ctx context.Context, other *Node) error {
	var err error
	if n.Running() { // an earlier join was interrupted
		err = n.wait(ctx)
	} else if err = n.meet(other); err == nil {
		err = n.Start(ctx)
	}
	if err != nil {
		return err
	}
	// A node that finds no cluster starts alone.
	if _, err := n.Ctl(ctx, "await_online_nodes", "2", "--timeout", "60"); err != nil {
		return err
	}
	n.Joined = true
	return n.save()
}

// meet tells a native node where its cluster is. Nodes talk to each other if they share a cookie, and
// find each other by the same epmd.
func (n *Node) meet(other *Node) error {
	const cookieFile = ".erlang.cookie"
	cookie, err := os.ReadFile(other.file(cookieFile))
	err = errors.Join(err, os.MkdirAll(n.Dir, 0o755), os.RemoveAll(n.file(cookieFile)), os.WriteFile(n.file(cookieFile), cookie, 0o400))
	if err != nil {
		return fmt.Errorf("copy the cookie of %s: %w", other.Name(), err)
	}
	n.Kind, n.EPMDPort = Native, other.EPMDPort
	// A node without data looks for its cluster when it starts; after that it knows the cluster.
	n.Lines = append(slices.Clone(n.Lines),
		"cluster_formation.classic_config.nodes.1 = "+other.NodeName(),
		"cluster_formation.classic_config.nodes.2 = "+n.NodeName())
	return nil
}

// UpCluster finds or starts the cluster for the lessons, on AMQP_PORT or 5672 and the two ports after
// it. Told says how the programs find it.
func UpCluster(ctx context.Context, w Wish) (Server, error) {
	w.AMQPPort = cmp.Or(w.AMQPPort, 5672)
	c, err := OpenCluster(w.Config)
	if err != nil {
		return Server{}, err
	}
	what := "started"
	if c[0].Running() && c[1].Running() && c[2].Running() {
		what = "already up:"
	} else if c.Running() {
		what = "started the missing nodes of"
	}
	if err := c.Start(ctx); errors.Is(err, errPortTaken) {
		return Server{}, fmt.Errorf("%w; a cluster takes %d and the two ports after it: stop what is there (make down), or choose others with AMQP_PORT=5680",
			errPortTaken, w.AMQPPort)
	} else if err != nil {
		return Server{}, err
	}
	version, err := login(c[0].URL())
	if err != nil {
		return Server{}, err
	}
	where := c[0].String()
	if c[0].Kind == Native {
		where += ", and two like it"
	}
	return Server{c.URL(), c[0].ManagementURL(), fmt.Sprintf(`%s a cluster of three nodes of RabbitMQ %s, console http://localhost:%d (%s)
In every terminal: export AMQP_URL=%s`,
		what, version, c[0].ManagementPort, where, c.URL())}, nil
}
