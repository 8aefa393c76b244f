package readme

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// As internal/amqpx/README.md says, amqpx's files without the tests build in any module, and so
// does the service that it shows.
func TestACopyOfAmqpxBuildsInAnotherModule(t *testing.T) {
	t.Parallel()
	module := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(module, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	requirement := found(t, `(github\.com/rabbitmq/amqp091-go v\S+)`, read(t, "go.mod"))[0]
	write("go.mod", "module example.com/service\n\ngo 1.25.0\n\nrequire "+requirement+"\n")
	write("go.sum", read(t, "go.sum"))
	files, err := filepath.Glob(filepath.Join(root, "internal/*/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	renamed := strings.NewReplacer("rabbitmq-tutorial/", "example.com/service/")
	for _, file := range files {
		room := filepath.Base(filepath.Dir(file))
		if (room == "amqpx" || room == "socket") && !strings.HasSuffix(file, "_test.go") {
			write("internal/"+room+"/"+filepath.Base(file), renamed.Replace(read(t, strings.TrimPrefix(file, root))))
		}
	}
	write("main.go", renamed.Replace(read(t, "internal/test/readme/testdata/service/main.go")))
	for _, command := range []string{"build", "vet"} {
		run := exec.Command("go", command, "./...")
		run.Dir = module
		run.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", command, err, out)
		}
	}
}

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
