package faults_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// channelOpenOk is the size of the answer that ends the log-in, in bytes.
const channelOpenOk = 16

// If a connection ends in the middle of the log-in, or of a frame soon after it, the
// consumer neither ends nor speaks of a wrong password.
func TestConsumerComesBackAfterACut(t *testing.T) {
	t.Parallel()
	testReconnection(t, true)
}

// The same, but the connection falls silent. Before the first heartbeat, only a deadline
// can notice.
func TestConsumerComesBackAfterASilence(t *testing.T) {
	t.Parallel()
	testReconnection(t, false)
}

// testReconnection resets a consumer's connection, and makes the next one end, or hang,
// after a number of bytes.
func testReconnection(t *testing.T, cut bool) {
	opened := login(t, harness.NewVhost(t).URL)
	const tune, openOk = 20, 13 // bytes of these frames
	for _, test := range []struct {
		direction string
		after     int64
	}{
		{downstream, 1},                      // in the type of connection.start
		{downstream, 100},                    // in the middle of it
		{downstream, opened - openOk - tune}, // after it: the log-in is on its way
		{downstream, opened - openOk - 1},    // in connection.tune
		{downstream, opened - openOk},        // before connection.open-ok
		{downstream, opened},                 // after it
		{downstream, opened + 1},             // in channel.open-ok
		{downstream, opened + channelOpenOk}, // after it
		{upstream, 4},                        // in the protocol header
		{upstream, 8},                        // after it
		{upstream, 100},                      // in connection.start-ok
		{upstream, 500},                      // at the end of the log-in
	} {
		t.Run(fmt.Sprintf("%s %d", test.direction, test.after), func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			c := harness.Consumers()[0]
			n := newNetwork(t, vhost.URL)
			p := c.Start(t, n.through(vhost.URL, heartbeat))
			n.down()
			p.Await("connection lost: ")
			n.fail(test.direction, &fault{After: test.after, Cut: cut, Once: true})
			n.up()
			p.Await(c.Ready)
			deliver(t, harness.Channel(t, vhost.URL), c, p, "1")
			p.Stop()
			if told := p.Output(); strings.Contains(told, "password") || strings.Contains(told, "vhost") {
				t.Errorf("a broken log-in is taken for a refused one:\n%s", told)
			}
		})
	}
}

// A program whose first connection is cut off says so, without speaking of the password. If
// it was logged in by then, it publishes again.
func TestPublisherIsCutOff(t *testing.T) {
	t.Parallel()
	opened := login(t, harness.NewVhost(t).URL)
	for _, direction := range []string{upstream, downstream} {
		var afters []int64
		for after := int64(0); after < opened; after += 70 {
			afters = append(afters, after)
		}
		for after := opened; after < opened+150; after += 11 {
			afters = append(afters, after)
		}
		for _, after := range append(afters, 50_000) {
			t.Run(fmt.Sprintf("%s %d", direction, after), func(t *testing.T) {
				t.Parallel()
				vhost := harness.NewVhost(t)
				n := newNetwork(t, vhost.URL)
				n.fail(direction, &fault{After: after, Cut: true, Once: true})
				p := harness.Start(t, n.through(vhost.URL, ""), "new_task", strings.Repeat("x", 100_000))
				if p.Wait() == 0 {
					if !vhost.HasQueue("task_queue") || vhost.Queue("task_queue").Ready == 0 {
						t.Errorf("the message is lost; new_task printed:\n%s", p.Output())
					}
					return
				}
				if strings.Contains(p.Output(), "connection lost") {
					// RabbitMQ 3.10 refuses messages for a queue that it is still making, at the
					// request of the connection that was cut off.
					lines := p.Stderr()
					if last := lines[len(lines)-1]; last != ` [!] publish to queue "task_queue": the broker refused the message` {
						t.Errorf("new_task printed:\n%s", p.Output())
					}
					return
				}
				line := harness.WantFailure(t, p)
				if !strings.HasPrefix(line, " [!] connect to amqp://127.0.0.1:") || strings.Contains(line, "password") {
					t.Errorf("the line is %q", line)
				}
			})
		}
	}
}

// The broker falls silent while a program declares its queue. After Ctrl+C, the program
// does not wait until the heartbeats notice.
func TestCtrlCWhileTheBrokerIsSilent(t *testing.T) {
	t.Parallel()
	opened := login(t, harness.NewVhost(t).URL)
	for program, limit := range map[string]time.Duration{
		"send":               time.Second,
		"receive":            time.Second,
		"rpc_client":         time.Second,
		"publisher_confirms": 4 * time.Second, // for 3 of them it tries to delete its queue
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			n := newNetwork(t, vhost.URL)
			n.fail(downstream, &fault{After: opened + channelOpenOk})
			p := harness.Start(t, n.through(vhost.URL, ""), program)
			harness.Eventually(t, 20*time.Second, "the program declares a queue", func() bool {
				return len(vhost.Queues()) > 0
			})
			wantEnd(t, p, limit+slack)
		})
	}
}

// The broker falls silent while it is asked for a parked task, which stays where it is.
func TestCtrlCWhileTheBrokerKeepsAParkedTask(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	ch := harness.Channel(t, vhost.URL)
	declareOks := int64(0)
	for _, queue := range []string{"retry_tasks", "retry_parked"} {
		harness.DeclareQueue(t, ch, queue)
		declareOks += int64(21 + len(queue))
	}
	harness.Publish(t, ch, "", "retry_parked", "parked")
	n := newNetwork(t, vhost.URL)
	n.fail(downstream, &fault{After: login(t, vhost.URL) + channelOpenOk + declareOks})
	p := harness.Start(t, n.through(vhost.URL, ""), "retry_worker", "-unpark")
	vhost.AwaitQueue("retry_parked", 0, 1)
	wantEnd(t, p, time.Second+slack)
	vhost.AwaitQueue("retry_parked", 1, 0)
	vhost.AwaitQueue("retry_tasks", 0, 0)
}

// The task is done, but its acknowledgement never reaches the broker. So the task is done
// again, marked as redelivered. What was acknowledged is not done again.
func TestTaskIsDoneAgainWhenItsAcknowledgementIsLost(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	n := newNetwork(t, v.URL)
	worker := harness.StartConsumer(t, n.through(v.URL, ""), "worker", "-unit=1ms")
	// A basic.ack begins with: frame type 1, channel 1, 13 bytes, class 60, method 80.
	ack := []byte{1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80}
	n.fail(upstream, &fault{Before: ack, Cut: true, Once: true})
	ch := harness.Channel(t, v.URL)
	harness.Publish(t, ch, "", "task_queue", "first.")
	worker.Await("connection lost: ")
	harness.Publish(t, ch, "", "task_queue", "second.")

	worker.Await(" [x] Received second.")
	worker.Await(" [x] Done")
	worker.Stop()
	want := []string{
		harness.WaitingForMessages,
		" [x] Received first.", " [x] Done",
		harness.WaitingForMessages,
		" [x] Received first. (redelivered)", " [x] Done",
		" [x] Received second.", " [x] Done",
	}
	if got := worker.Stdout(); !slices.Equal(got, want) {
		t.Errorf("the worker printed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	v.AwaitReady("task_queue", 0)
}

// The server's connection is cut before its answer has left. So the request is not acknowledged either, and is
// answered in the next session.
func TestRequestIsAnsweredWhenItsAnswerIsLost(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	client := harness.Start(t, v.URL, "rpc_client", "-timeout=30s", "10")
	v.AwaitReady("rpc_queue", 1)
	n := newNetwork(t, v.URL)
	// A basic.publish to amq.gen- and 22 characters begins with: frame type 1, channel 1, 39 bytes, class 60, method 40.
	publish := []byte{1, 0, 1, 0, 0, 0, 39, 0, 60, 0, 40}
	n.fail(upstream, &fault{Before: publish, Cut: true, Once: true})
	server := harness.StartConsumer(t, n.through(v.URL, ""), "rpc_server")
	client.Exits(0)
	if !slices.Contains(client.Stdout(), " [.] Got 55") {
		t.Errorf("rpc_client printed:\n%s", client.Output())
	}
	wantStderr(t, server, "connected again")
}

// login measures the log-in: how many bytes the broker sends until connection.open-ok.
func login(t testing.TB, url string) int64 {
	t.Helper()
	n := newNetwork(t, url)
	counter := n.fail(downstream, &fault{After: math.MaxInt64})
	conn, err := amqp.Dial(n.through(url, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return counter.passed.Load()
}

// Both of two brokers accept connections and cut them. The program tries them by turns, and does not
// say so each time.
func TestTryingAnotherBrokerIsNotToldAgain(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	one, two := newNetwork(t, v.URL), newNetwork(t, v.URL)
	p := harness.StartConsumer(t, one.through(v.URL, "")+","+two.through(v.URL, ""), "receive")
	first, second := one.fail(upstream, &fault{Cut: true}), two.fail(upstream, &fault{Cut: true})
	harness.Eventually(t, time.Minute, "each broker is tried four times", func() bool {
		return min(first.met.Load(), second.met.Load()) >= 4
	})
	if strings.Contains(p.Output(), "trying another broker") || !strings.Contains(p.Output(), "connecting again") {
		t.Errorf("it printed:\n%s", p.Output())
	}
	p.Stop()
}
