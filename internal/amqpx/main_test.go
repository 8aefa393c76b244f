package amqpx_test

import (
	"os"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/amqpx"
)

func TestMain(m *testing.M) {
	os.Setenv("AMQP_URL", os.Getenv("TEST_AMQP_URL")) // for the examples
	goleak.VerifyTestMain(m)
}

const soon = 20 * time.Second

// q is the queue of most tests, and toQ the way there.
var (
	q   = amqpx.Queue{Name: "q", Durable: true, Type: amqp.QueueTypeQuorum}
	toQ = amqpx.Route{RoutingKey: "q", Mandatory: true}
)

// channel opens a channel of a client that knows nothing of this package.
func channel(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// publish publishes messages with these bodies to a queue and waits for the confirms.
func publish(t *testing.T, ch *amqp.Channel, queue string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		confirm, err := ch.PublishWithDeferredConfirm("", queue, false, false, amqp.Publishing{Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		if !confirm.Wait() {
			t.Fatalf("the broker refused %q", body)
		}
	}
}
