package broker_test

import (
	"context"
	"errors"
	"os"
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

func newNode(t *testing.T, suffix string) *broker.Node {
	t.Helper()
	node, err := broker.Open(config(t, suffix))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := node.Log(); t.Failed() {
			t.Logf("the log of %s ends:\n%s", node, log[max(0, len(log)-4000):])
		}
		if err := node.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return node
}

func TestQuorumQueueSurvivesTheLossOfOneOfThreeNodes(t *testing.T) {
	t.Parallel()
	one, two, three := newNode(t, "one"), newNode(t, "two"), newNode(t, "three")
	if err := one.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	joined := make(chan error)
	for _, node := range []*broker.Node{two, three} {
		go func() { joined <- node.Join(t.Context(), one) }()
	}
	err := errors.Join(<-joined, <-joined)
	if one.Kind == broker.Compose {
		if err == nil {
			t.Error("a container was said to have joined a cluster")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := three.Ctl(t.Context(), "await_online_nodes", "3", "--timeout", "30"); err != nil {
		t.Fatal(err)
	}

	ch := harness.Channel(t, one.URL())
	harness.DeclareQueue(t, ch, "hello")
	harness.Publish(t, ch, "", "hello", "Hello World!")

	if err := one.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, "the message comes from another node", func() bool {
		conn, err := amqp.Dial(three.URL())
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

	if err := one.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Ctl(t.Context(), "await_online_nodes", "3", "--timeout", "60"); err != nil {
		t.Error(err)
	}
}
