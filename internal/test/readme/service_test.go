package readme

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// The service waits for a broker that is not up yet. It books an order once, even if the order
// comes twice, to the same service or to its successor.
func TestTheServiceWaitsForItsBrokerAndBooksEachOrderOnce(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	broker.Kill()
	ledger := filepath.Join(t.TempDir(), "ledger.txt")
	start := func() *harness.Process {
		service := exec.Command(harness.Path("service"))
		service.Env = append(os.Environ(), "AMQP_URL="+broker.URL(), "LEDGER="+ledger)
		return harness.StartCmd(t, service)
	}
	booked := func(want string) {
		t.Helper()
		harness.Eventually(t, 30*time.Second, "the orders are booked: "+want, func() bool {
			text, err := os.ReadFile(ledger)
			return err == nil && string(text) == want
		})
	}
	service := start()
	service.Await("trying again")
	broker.Up()

	ch := harness.Channel(t, broker.URL())
	harness.DeclareQueue(t, ch, "orders")
	// While the service's declaration is under way, RabbitMQ 3.10 refuses messages.
	harness.Eventually(t, 30*time.Second, "the service consumes", func() bool {
		queue, err := ch.QueueDeclarePassive("orders", true, false, false, false, nil)
		return err == nil && queue.Consumers == 1
	})
	order := func(id string) amqp.Publishing { return amqp.Publishing{MessageId: id, Body: []byte("a book")} }
	harness.PublishMessages(t, ch, "", "orders", order("1"), order("1"), order("2"))
	booked("1 a book\n2 a book\n")
	service.Stop()

	successor := start()
	harness.PublishMessages(t, ch, "", "orders", order("2"), order("3"))
	booked("1 a book\n2 a book\n3 a book\n")
	successor.Stop()
}
