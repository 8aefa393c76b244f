package faults_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

// One node of three, the leader of the queue, is cut off from the two others, but not from its clients.
// The two elect another leader. Whoever publishes to the one alone gets no confirm. When the link is
// mended, every task is done.
func cutOff(t *testing.T, c *harness.Cluster, l *links) {
	// What RabbitMQ 3 needs, for its own tables; RabbitMQ 4.3 knows but one way.
	c.Nodes[0].Ctl("eval", "{_, []} = rpc:multicall(application, set_env, [rabbit, cluster_partition_handling, pause_minority]).")
	v, urls := c.NewVhost()
	alone := v.URL // of node 0
	majority := strings.ReplaceAll(urls, ","+alone, "")
	harness.DeclareQueue(t, harness.Channel(t, alone), "task_queue") // its leader is where it was declared
	s := newStream(t, c, v, urls, majority, 6000)
	s.twice = true // an acknowledgement may be on its way from the node that is cut off

	var pauses []string
	for i := range 3 {
		s.awaitConfirmed(s.tasks * (i + 1) / 4)
		var inVain *harness.Process
		pause := s.pause(func() {
			l.cut()
			inVain = harness.Start(t, alone, "new_task", "In vain")
		})
		pauses = append(pauses, fmt.Sprintf("%.1f s", pause.Seconds()))
		// The console's figures, which this asks for, may be a minute old.
		harness.Eventually(t, 3*time.Minute, "both sides have noticed", func() bool {
			return c.Nodes[0].Sees() <= 1 && c.Nodes[1].Sees() == 2 && c.Nodes[2].Sees() == 2
		})
		inVain.Interrupt()
		inVain.Wait()
		t.Logf("new_task, alone:\n%s", inVain.Output())
		if len(inVain.Stdout()) > 0 || len(inVain.Stderr()) == 0 {
			t.Error("the node alone has confirmed its task, or new_task does not say that it has not")
		}
		l.mend()
		mended := time.Now()
		c.AwaitMembers(v.Name, "task_queue")
		t.Logf("%.1f s after the link was mended, the cluster is whole again", time.Since(mended).Seconds())
	}
	summary := s.end()
	t.Logf("RabbitMQ %s, cut off and mended: %s; pauses: %s", c.Nodes[0].Version(), summary, strings.Join(pauses, ", "))
}

// links connect three network namespaces and this one.
type links struct {
	t       *testing.T
	network string // such as "10.77.3."
	names   [3]string
}

// newLinks returns nil, and says why, where there can be no namespaces.
func newLinks(t *testing.T) *links {
	t.Helper()
	if kind := os.Getenv("BROKER"); kind == string(broker.Compose) {
		t.Log("left out: the nodes are containers")
		return nil
	}
	name := fmt.Sprintf("rmq%04x", rand.IntN(1<<16))
	l := &links{t: t, network: fmt.Sprintf("10.%d.%d.", 64+rand.IntN(64), rand.IntN(256))}
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Logf("left out: partitions need root, ip and iptables on Linux: %v %s", err, out)
		return nil
	}
	l.run("ip", "netns", "del", name)
	here := l.network + "254"
	for i := range l.names {
		l.names[i] = fmt.Sprintf("%s-%d", name, i)
		l.run("ip", "netns", "add", l.names[i])
		t.Cleanup(func() {
			// The nodes have ended, but not their name servers, which would keep the links.
			l.run("sh", "-c", "ip netns pids "+l.names[i]+" | xargs -r kill -9")
			l.run("ip", "netns", "del", l.names[i]) // and its links
		})
		l.run("ip", "-n", l.names[i], "link", "set", "lo", "up")
		l.run("ip", "-n", l.names[i], "addr", "add", l.address(i)+"/32", "dev", "lo")
		l.run("ip", "link", "add", l.names[i], "type", "veth", "peer", "name", "here", "netns", l.names[i])
		l.run("ip", "link", "set", l.names[i], "up")
		l.run("ip", "addr", "add", here+"/32", "dev", l.names[i])
		l.run("ip", "route", "add", l.address(i)+"/32", "dev", l.names[i], "src", here)
		l.run("ip", "-n", l.names[i], "link", "set", "here", "up")
		l.run("ip", "-n", l.names[i], "route", "add", here+"/32", "dev", "here", "src", l.address(i))
	}
	// A link for each two, without a bridge, which a firewall on this machine may filter.
	for _, pair := range [][2]int{{0, 1}, {0, 2}, {1, 2}} {
		a, b := pair[0], pair[1]
		toA, toB := fmt.Sprint("to", a), fmt.Sprint("to", b)
		l.run("ip", "-n", l.names[a], "link", "add", toB, "type", "veth", "peer", "name", toA, "netns", l.names[b])
		l.run("ip", "-n", l.names[a], "link", "set", toB, "up")
		l.run("ip", "-n", l.names[b], "link", "set", toA, "up")
		l.run("ip", "-n", l.names[a], "route", "add", l.address(b)+"/32", "dev", toB, "src", l.address(a))
		l.run("ip", "-n", l.names[b], "route", "add", l.address(a)+"/32", "dev", toA, "src", l.address(b))
	}
	return l
}

func (l *links) run(command ...string) {
	l.t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		l.t.Fatalf("%q: %v %s", command, err, out)
	}
}

func (l *links) address(node int) string { return fmt.Sprint(l.network, node+1) }

// place puts a node of the cluster into its namespace, if there is one.
func (l *links) place(node int, config *broker.Config) {
	if l == nil {
		return
	}
	config.Namespace, config.Address = l.names[node], l.address(node)
	config.Lines = append(config.Lines,
		"loopback_users = none",
		"net_ticktime = 8") // the nodes notice within 10 s, not 75
}

// cut drops what node 0 and the others send to each other, as a broken cable would.
func (l *links) cut() {
	l.t.Helper()
	for _, other := range []int{1, 2} {
		l.run("ip", "netns", "exec", l.names[0], "iptables", "-A", "INPUT", "-s", l.address(other), "-j", "DROP")
		l.run("ip", "netns", "exec", l.names[0], "iptables", "-A", "OUTPUT", "-d", l.address(other), "-j", "DROP")
	}
}

func (l *links) mend() {
	l.t.Helper()
	l.run("ip", "netns", "exec", l.names[0], "iptables", "-F")
}
