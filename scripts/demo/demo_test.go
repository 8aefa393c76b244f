package main

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// demo starts a demo in the virtual host of the URL.
func demo(t *testing.T, url string, lessons ...string) *harness.Process {
	t.Helper()
	cmd := exec.Command(harness.Path("demo"), lessons...)
	cmd.Env = append(os.Environ(), "BROKER=external", "AMQP_URL="+url)
	return harness.StartCmd(t, cmd)
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

// It compares times, so it is not parallel.
func TestEveryClaimHolds(t *testing.T) {
	vhost := harness.NewVhost(t)
	p := demo(t, vhost.URL, "hello", "workqueue", "pubsub", "routing", "topics", "rpc", "pipeline", "retry")
	p.Await("Lesson 6: Remote procedure call") // a busy machine may need a minute for each half
	p.Exits(0)
	p.Await("All 35 claims hold")
	wantEntities(t, vhost, nil, nil)
	if strings.Contains(p.Output(), "\x1b") {
		t.Error("there are colours although stdout is no terminal")
	}
}

func TestDemoKeepsWhatItFinds(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	receive := harness.Start(t, vhost.URL, "receive") // declares the queue
	receive.Await("Waiting")
	receive.Stop()
	harness.Run(t, vhost.URL, 0, "emit_log")

	demo(t, vhost.URL, "hello", "pubsub", "routing").Exits(0)
	wantEntities(t, vhost, []string{"hello"}, []string{"logs"})
}

func TestDemoKeepsOutOfAQueueInUse(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	harness.Run(t, vhost.URL, 0, "send")

	p := demo(t, vhost.URL, "hello")
	p.Exits(1)
	p.Await(`queue "hello" is in use`)
	if ready := vhost.Queue("hello").Ready; ready != 1 {
		t.Errorf("%d messages wait in the queue, want the 1 that was there before", ready)
	}
}

func TestInterruptedDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	p := demo(t, vhost.URL, "workqueue")
	p.Await("[x] Received Task 2")
	p.Interrupt()
	p.Exits(130)
	wantEntities(t, vhost, nil, nil)
}

// The reader goes away, as in `make demo | head -2`.
func TestDemoWithoutAReaderLeavesNothing(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	cmd := exec.Command(harness.Path("demo"), "workqueue", "hello")
	cmd.Env = append(os.Environ(), "BROKER=external", "AMQP_URL="+vhost.URL)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('W'); err != nil {
		t.Error(err)
	}
	stdout.Close()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "show the lesson") {
		t.Errorf("%v, and stderr is %q", err, &stderr)
	}
	wantEntities(t, vhost, nil, nil)
}

func TestDemoHasAVhostOfItsOwn(t *testing.T) {
	t.Parallel()
	shared := harness.SharedBroker(t)
	name := func(url string) string { return url[strings.LastIndex(url, "/")+1:] }
	v, err := openVhost(shared.URL(), shared.ManagementURL())
	if err != nil {
		t.Fatal(err)
	}
	if own := name(v.url); own == "" || !strings.Contains(shared.Ctl("-q", "list_vhosts"), own+"\n") {
		t.Errorf("the broker has no virtual host %q", own)
	}
	if err := v.close(); err != nil {
		t.Error(err)
	}
	if strings.Contains(shared.Ctl("-q", "list_vhosts"), name(v.url)+"\n") {
		t.Errorf("the virtual host %q is left", name(v.url))
	}
}

func TestSecondDemoInTheVhostIsRefused(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	first := demo(t, vhost.URL, "workqueue")
	first.Await("[x] Received Task 1")
	second := demo(t, vhost.URL, "pubsub")
	second.Exits(1)
	second.Await("another demo is running")
}

func TestBrokenClaimFailsTheDemo(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	harness.Start(t, vhost.URL, "receive_logs").Await("Waiting") // hears what nobody should
	p := demo(t, vhost.URL, "pubsub")
	p.Exits(1)
	p.Await("✗ a line that nobody listens for is discarded")
	p.Await("✓ each of two receivers gets a copy")
}

func TestLessonEndsWhereItCannotGoOn(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	nowhere := &vhost{url: "amqp://localhost:1/"}
	s := &stage{ctx: t.Context(), vhost: nowhere, screen: newScreen(null, func(err error) { t.Error(err) })}
	err = s.act(func(s *stage) {
		s.run("sender", "send")
		t.Error("the lesson goes on though its message was not sent")
	})
	if err == nil || !strings.Contains(err.Error(), "exit status 1, want 0") {
		t.Errorf("it ended with %v", err)
	}
}

func TestTimelineShowsWhoWorkedWhen(t *testing.T) {
	start := time.Now()
	at := func(tenths float64, text string) harness.Line {
		return harness.Line{At: start.Add(time.Duration(tenths * float64(column))), Text: text}
	}
	got := newTimeline(
		[]harness.Line{at(0, " [x] Received Task 1..."), at(6.2, " [x] Done"), at(6.2, " [x] Received Task 4."), at(8, " [x] Done")},
		[]harness.Line{at(1.1, " [x] Received Task 2."), at(2.9, " [x] Done"), at(4.9, " [x] Received Task 3."), at(7, " [x] Done")},
	)
	want := []string{"1█████4█", " 2█  3█"}
	if !slices.Equal(got.rows, want) || got.makespan != 8*column {
		t.Errorf("a makespan of %v and the rows %q, want %v and %q", got.makespan, got.rows, 8*column, want)
	}
}
