package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, "rabbitmq-tutorial/scripts/demo")) }

// demo starts a demo in the virtual host of the URL, or, with a management URL,
// in one that the demo makes.
func demo(t *testing.T, url, management string, lessons ...string) *harness.Process {
	t.Helper()
	env := append(os.Environ(), "AMQP_URL="+url, "MANAGEMENT_URL="+management)
	return harness.StartCmd(t, env, harness.Path("demo"), lessons...)
}

func wantStatus(t *testing.T, p *harness.Process, want int) {
	t.Helper()
	if got := p.Wait(); got != want {
		t.Errorf("exit status %d, want %d", got, want)
	}
}

func wantEntities(t *testing.T, vhost *harness.Vhost, queues, exchanges []string) {
	t.Helper()
	if got := vhost.Queues(); !slices.Equal(got, queues) {
		t.Errorf("the virtual host has the queues %q, want %q", got, queues)
	}
	if got := vhost.Exchanges(); !slices.Equal(got, exchanges) {
		t.Errorf("the virtual host has the exchanges %q, want %q", got, exchanges)
	}
}

// It compares times, and so runs before the tests that are parallel.
func TestEveryClaimHolds(t *testing.T) {
	vhost := harness.NewVhost(t)
	p := demo(t, vhost.URL, "", "hello", "workqueue", "pubsub", "routing", "topics", "rpc")
	wantStatus(t, p, 0)
	p.Await("All 24 claims hold")
	wantEntities(t, vhost, nil, nil)
	if strings.Contains(p.Output(), "\x1b") {
		t.Error("there are colours in what is no terminal")
	}
}

func TestDemoKeepsWhatItFinds(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	receive := harness.Start(t, vhost.URL, "receive") // declares the queue
	receive.Await("Waiting")
	receive.Stop()
	harness.Run(t, vhost.URL, 0, "emit_log")

	wantStatus(t, demo(t, vhost.URL, "", "hello", "pubsub", "routing"), 0)
	wantEntities(t, vhost, []string{"hello"}, []string{"logs"})
}

func TestDemoKeepsOutOfAQueueInUse(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	harness.Run(t, vhost.URL, 0, "send")

	p := demo(t, vhost.URL, "", "hello")
	wantStatus(t, p, 1)
	p.Await(`queue "hello" is in use`)
	if ready := vhost.Queue("hello").Ready; ready != 1 {
		t.Errorf("%d messages wait in the queue, want the 1 that was there before", ready)
	}
}

func TestInterruptedDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	p := demo(t, vhost.URL, "", "workqueue")
	p.Await("[x] Received Task 2")
	p.Interrupt()
	wantStatus(t, p, 130)
	wantEntities(t, vhost, nil, nil)
}

func TestDemoHasAVhostOfItsOwn(t *testing.T) {
	t.Parallel()
	broker := harness.SharedBroker(t)
	vhost := harness.NewVhost(t)
	p := demo(t, vhost.URL, broker.ManagementURL(), "workqueue")
	own := fmt.Sprintf("demo-%d\n", p.Pid())
	p.Await("[x] Received Task 1")
	if !strings.Contains(broker.Ctl("-q", "list_vhosts"), own) {
		t.Errorf("the broker has no virtual host %q while the demo runs", own)
	}
	wantEntities(t, vhost, nil, nil)
	p.Interrupt()
	wantStatus(t, p, 130)
	if strings.Contains(broker.Ctl("-q", "list_vhosts"), own) {
		t.Errorf("the virtual host %q is left", own)
	}
}

func TestSecondDemoInTheVhostIsRefused(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	first := demo(t, vhost.URL, "", "workqueue")
	first.Await("[x] Received Task 1")
	second := demo(t, vhost.URL, "", "pubsub")
	wantStatus(t, second, 1)
	second.Await("another demo is running")
}

func TestBrokenClaimFailsTheDemo(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	harness.Start(t, vhost.URL, "receive_logs").Await("Waiting") // hears what nobody should
	p := demo(t, vhost.URL, "", "pubsub")
	wantStatus(t, p, 1)
	p.Await("✗ a line for nobody is discarded")
	p.Await("✓ two receivers get a copy each")
}

func TestTimeline(t *testing.T) {
	start := time.Now()
	worker := func(label string, lines ...line) *process { return &process{label: label, lines: lines} }
	at := func(tenths float64, text string) line {
		return line{start.Add(time.Duration(tenths * float64(column))), text}
	}
	s := newStage(context.Background(), nil, &screen{})
	got := s.timeline(
		worker("worker-1", at(0, " [x] Received Task 1..."), at(6.2, " [x] Done"), at(6.2, " [x] Received Task 4."), at(8, " [x] Done")),
		worker("worker-2", at(1.1, " [x] Received Task 2."), at(2.9, " [x] Done"), at(4.9, " [x] Received Task 3."), at(7, " [x] Done")),
	)
	want := "worker-1   │1█████4█\nworker-2   │ 2█  3█"
	if got.rows != want || got.makespan != 8*column {
		t.Errorf("a makespan of %v and the rows\n%s\nwant %v and\n%s", got.makespan, got.rows, 8*column, want)
	}
}
