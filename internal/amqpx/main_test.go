package amqpx_test

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/amqpx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// q is the queue of most tests, and toQ the way there.
var (
	q   = amqpx.Queue{Name: "q", Durable: true, Type: amqp.QueueTypeQuorum}
	toQ = amqpx.Route{RoutingKey: "q", Mandatory: true}
)
