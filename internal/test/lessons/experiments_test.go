package lessons_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

func TestARestartKeepsWhatIsDurableAndPersistent(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	v := broker.NewVhost()
	const sent = " [x] Sent a persistent and a transient message"
	experiment := func(want ...string) { t.Helper(); wantStdout(t, harness.Run(t, v.URL, 0, "restart"), want...) }
	experiment(sent)
	experiment(" [x] Found the persistent message", " [x] Found the transient message") // without a restart
	experiment(sent)

	transient := harness.Start(t, v.URL, "restart", "-durable=false")
	made := transient.Wait() == 0
	switch text := strings.Join(transient.Stderr(), "\n"); {
	case made:
		wantStdout(t, transient, sent)
	case !strings.Contains(text, "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated"):
		t.Errorf("the queue that is not durable is refused with %q", text)
	case strings.HasPrefix(broker.Version(), "3."):
		t.Error("RabbitMQ 3 refuses a queue that is not durable")
	}
	if v.HasQueue("durable_false") != made {
		t.Errorf("the queue that is not durable is made: %v, and the queues are %q", made, v.Queues())
	}
	t.Logf("RabbitMQ %s makes a queue that is not durable: %v", broker.Version(), made)

	broker.Stop()
	broker.Up()
	if queues := v.Queues(); !slices.Equal(queues, []string{"durable_true"}) {
		t.Errorf("after the restart there are %q", queues)
	}
	experiment(" [x] Found the persistent message")
}

// What a durable queue has of an exchange that is not durable stays. Whether it gets more depends on
// the version: RabbitMQ 3 forgets the exchange and the binding, 4.3 keeps both.
func TestARestartAndAnExchangeThatIsNotDurable(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	v := broker.NewVhost()
	wantStdout(t, harness.Run(t, v.URL, 0, "log_archive"), " [x] Bound log_archive to logs and to durable_logs")
	wantStderr(t, harness.Run(t, v.URL, 0, "emit_log", "Before"))
	v.AwaitReady("log_archive", 1)

	broker.Stop()
	broker.Up()
	v.AwaitReady("log_archive", 1)
	exchanges, notes, messages := []string{"durable_logs", "logs"}, []string(nil), 2
	if strings.HasPrefix(broker.Version(), "3.") {
		exchanges, notes, messages = exchanges[:1], []string{" [!] nobody is listening: the message was discarded"}, 1
	}
	if got := slices.Sorted(slices.Values(v.Exchanges())); !slices.Equal(got, exchanges) {
		t.Errorf("after the restart there are the exchanges %q, want %q", got, exchanges)
	}
	wantStderr(t, harness.Run(t, v.URL, 0, "emit_log", "After"), notes...)
	v.AwaitReady("log_archive", messages)

	// A durable exchange keeps its bindings in every version.
	harness.Publish(t, harness.Channel(t, v.URL), "durable_logs", "", "After, through the durable exchange")
	v.AwaitReady("log_archive", messages+1)
}

func TestAnExclusiveQueueIsRefusedToAnotherConnection(t *testing.T) {
	t.Parallel()
	experiment := harness.Run(t, harness.NewVhost(t).URL, 0, "exclusive")
	experiment.Await(` [x] The first connection has declared the queue "mine", exclusive`)
	experiment.Await(" [x] The second connection declares it as well: Exception (405) Reason: " +
		`"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost `)
}

// RabbitMQ 4.3 has delayed retries, whose pause grows by the first pause with each failure. A nack
// is no failure. Older versions do not know them.
func TestDelayedRetriesOfRabbitMQ(t *testing.T) {
	t.Parallel()
	broker := harness.SharedBroker(t)
	v := harness.NewVhost(t)
	want := func(p *harness.Process, pauses ...int) {
		t.Helper()
		var lines []string
		for i, pause := range append([]int{0}, pauses...) {
			lines = append(lines, fmt.Sprintf(" [x] Try %d, after %d s", i+1, pause))
		}
		wantStdout(t, p, lines...)
	}
	want(harness.Run(t, v.URL, 0, "delayed_retry"), 0, 0, 0)
	policy := map[string]any{"pattern": "^delayed_retry$", "apply-to": "queues",
		"definition": map[string]any{"delayed-retry-type": "all", "delayed-retry-min": 1000, "delayed-retry-max": 2000}}
	err := harness.API(broker.ManagementURL(), "PUT", "/policies/"+v.Name+"/delay", policy, nil)
	if strings.HasPrefix(broker.Version(), "3.") {
		if err == nil || !strings.Contains(err.Error(), "not recognised") {
			t.Errorf("the policy: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want(harness.Run(t, v.URL, 0, "delayed_retry"), 1, 2, 2)
	want(harness.Run(t, v.URL, 0, "delayed_retry", "-nack"), 1, 1, 1)
}

func TestAnExperimentEndsWithOneLineAndNoPassword(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"amqp://guest:sec%zzret@localhost/": " [!] AMQP_URL is not an AMQP URL. Set it to something like amqp://user:password@localhost:5672/",
		"amqp://guest:secret@localhost:1/":  " [!] connect: dial tcp",
	} {
		for _, experiment := range []string{"restart", "log_archive", "other_channel", "exclusive", "requeue", "head_of_line", "x_death", "delayed_retry"} {
			p := harness.Run(t, url, 1, experiment)
			if lines := p.Stderr(); len(lines) != 1 || !strings.HasPrefix(lines[0], want) || strings.Contains(lines[0], "sec") {
				t.Errorf("%s printed %q", experiment, lines)
			}
		}
	}
}
