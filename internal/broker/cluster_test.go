package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

// config returns the Config of a broker for this test, of the kind that `make test` uses. Its name
// begins like the shared broker's: see harness.StartBroker.
func config(t *testing.T, suffix string) broker.Config {
	t.Helper()
	wish, err := broker.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	wish.Dir = os.Getenv("TEST_BROKER") + "-" + suffix
	wish.AMQPPort, wish.ManagementPort = 0, 0
	return wish.Config
}

// A cluster starts, loses the node where a queue has its leader, takes it back, and is found again
// after it was stopped.
func TestClusterOutlivesANodeAndAStop(t *testing.T) {
	t.Parallel()
	wish := broker.Wish{Config: config(t, "cluster")}
	for { // three ports in a row, which FreePorts gives to no other test
		port := 29_000 + rand.IntN(1000)
		if wish.AMQPPort, wish.ManagementPort = port, port+1000; portsFree(port, port+1, port+2, port+1000, port+1001, port+1002) {
			break
		}
	}
	up := func(told string) broker.Cluster {
		t.Helper()
		server, err := broker.UpCluster(t.Context(), wish)
		cluster, openErr := broker.OpenCluster(wish.Config)
		if err := errors.Join(err, openErr); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(server.Told, told) || !strings.HasSuffix(server.Told, "AMQP_URL="+cluster.URL()) || server.URL != cluster.URL() {
			t.Errorf("%+v", server)
		}
		return cluster
	}
	t.Cleanup(func() {
		cluster, err := broker.OpenCluster(wish.Config)
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range cluster {
			if log := node.Log(); t.Failed() {
				t.Logf("the log of %s ends:\n%s", node.Name(), log[max(0, len(log)-4000):])
			}
		}
		if err := cluster.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	})
	cluster := up("started a cluster of three nodes of RabbitMQ ")

	ch := harness.Channel(t, cluster[0].URL())
	harness.DeclareQueue(t, ch, "hello")
	harness.Publish(t, ch, "", "hello", "Hello World!")
	if err := cluster[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitHello(t, cluster[2])

	if cluster = up("already up: a cluster of three nodes of RabbitMQ "); !cluster[0].Running() {
		t.Error("the first node was not started again")
	}
	if err := cluster.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cluster.Running() {
		t.Error("a node runs after Stop")
	}
	awaitHello(t, up("started a cluster ")[1])
}

// awaitHello waits until the node has the message; the message stays in the queue.
func awaitHello(t *testing.T, node *broker.Node) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "the message comes from "+node.Name(), func() bool {
		conn, err := amqp.Dial(node.URL())
		if err != nil {
			return false
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			return false
		}
		delivery, ok, err := ch.Get("hello", false)
		return err == nil && ok && string(delivery.Body) == "Hello World!"
	})
}

func portsFree(ports ...int) bool {
	for _, port := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
