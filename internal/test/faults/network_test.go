package faults_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"
	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// A connection that has become a black hole looks alive. The missing heartbeats show that it
// is not, within two intervals.
func TestConsumersComeBackOutOfABlackHole(t *testing.T) {
	t.Parallel()
	for _, c := range harness.Consumers() {
		t.Run(c.Program, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			direct := harness.Channel(t, vhost.URL)
			n := newNetwork(t, vhost.URL)
			p := c.Start(t, n.through(vhost.URL, heartbeat))
			deliver(t, direct, c, p, "1")

			start := time.Now()
			n.swallow()
			if found := p.Await("connection lost: ").At.Sub(start); found > lifetime {
				t.Errorf("the failure was found after %v, want at most %v", found, lifetime)
			}
			p.Await(c.Ready)
			deliver(t, direct, c, p, "2")
			wantStderr(t, p, " [!] connected again")
			p.Stop()
		})
	}
}

// Five goroutines have a message on its way each when their session is blocked. One is stuck in a
// write, and so holds locks that amqp091-go needs to close the connection: see package socket.
func TestPublishersComeBackOutOfABlackHole(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	n := newNetwork(t, vhost.URL)
	n.fail(upstream, &fault{After: 20e6, Once: true}) // in the third message
	confirmed := make(map[string]bool)
	published := make(chan error, 1)
	go func() {
		published <- publishSideBySide(t.Context(), n.through(vhost.URL, heartbeat), "hello", 5,
			numberedMessages(5, make([]byte, 8e6)), func(msg *amqp.Publishing) { confirmed[msg.MessageId] = true })
	}()
	vhost.AwaitReady("hello", 2)

	n.fail(downstream, &fault{Once: true})
	start := time.Now()
	if err := <-published; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > lifetime+2*slack { // and five messages of 8 MB
		t.Errorf("published after %v, want at most %v", took, lifetime+2*slack)
	}
	ids := make(map[string]bool)
	for _, d := range vhost.Drain("hello") {
		ids[d.MessageId] = true
	}
	if len(confirmed) != 5 || len(ids) != 5 {
		t.Errorf("%d messages confirmed, %d received, want 5", len(confirmed), len(ids))
	}
}

// A server accepts the connection and never answers.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	n := newNetwork(t, vhost.URL)
	n.fail(upstream, &fault{})
	n.fail(downstream, &fault{})
	plain := n.through(vhost.URL, "")
	secure := strings.Replace(plain, "amqp:", "amqps:", 1)
	for _, test := range []struct {
		program string
		url     string
		args    []string
	}{
		{"send", plain, nil},
		{"send", secure, nil},
		{"receive", plain, nil},
		{"rpc_client", plain, []string{"-timeout=30s"}},
		{"rpc_server", plain, nil},
		{"publisher_confirms", plain, nil},
	} {
		t.Run(test.program+" "+parseURL(t, test.url).Scheme, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			line := harness.WantFailure(t, harness.Start(t, test.url, test.program, test.args...))
			if took := time.Since(start); took < dialTimeout || took > dialTimeout+slack {
				t.Errorf("ended after %v, want %v", took, dialTimeout)
			}
			if !strings.Contains(line, "no answer within 5s. Check that AMQP_URL or -url names a RabbitMQ") {
				t.Errorf("the line is %q", line)
			}
		})
	}
}

// Client and server lose their connections, in every way, while calls wait for answers.
// Every call gets its answer.
func TestRPCOverABrokenNetwork(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		breakIt func(*network)
	}{
		{"reset", (*network).reset},
		{"black hole", (*network).swallow},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			ofClient, ofServer := newNetwork(t, vhost.URL), newNetwork(t, vhost.URL)
			client := harness.Start(t, ofClient.through(vhost.URL, heartbeat), "rpc_client", "-timeout=50s", "10", "20", "30")
			vhost.AwaitReady("rpc_queue", 3)
			test.breakIt(ofClient)
			wantStderr(t, client, "connected again")

			server := harness.Start(t, ofServer.through(vhost.URL, heartbeat), "rpc_server")
			server.Await(" [.] fib(")
			test.breakIt(ofServer)
			client.Exits(0)
			for _, want := range []string{" [.] Got 55", " [.] Got 6765", " [.] Got 832040"} {
				if !slices.Contains(client.Stdout(), want) {
					t.Errorf("no line %q in\n%s", want, client.Output())
				}
			}
			server.Await("connected again")
			server.Stop()
		})
	}
}

// The programs work on a slow network, and do not report it as broken.
func TestASlowNetworkIsNotTakenForABrokenOne(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, kind string
		toxic      toxics.Toxic
	}{
		{"500 ms latency", "latency", &toxics.LatencyToxic{Latency: 500}},
		{"10 kB a second", "bandwidth", &toxics.BandwidthToxic{Rate: 10}},
		{"a few bytes a packet", "slicer", &toxics.SlicerToxic{AverageSize: 50, SizeVariation: 30, Delay: 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			n := newNetwork(t, vhost.URL)
			n.add(upstream, test.kind, test.toxic)
			n.add(downstream, test.kind, test.toxic)
			url := n.through(vhost.URL, "")
			task := strings.Repeat("x", 100_000)

			worker := harness.StartConsumer(t, url, "worker")
			server := harness.StartConsumer(t, url, "rpc_server")
			client := harness.Start(t, url, "rpc_client", "-timeout=50s", "10", "20", "30")
			sender := harness.Run(t, url, 0, "new_task", task)
			if line := sender.Stdout()[0]; line != " [x] Sent "+task {
				t.Errorf("the line is %.50q", line)
			}
			worker.Await(" [x] Received " + task)
			worker.Await(" [x] Done")
			client.Exits(0)
			server.Stop()
			worker.Stop()
			for _, p := range []*harness.Process{sender, client, server, worker} {
				if strings.Contains(p.Output(), "connection lost") {
					t.Errorf("a slow network is taken for a broken one:\n%s", p.Output())
				}
			}
		})
	}
}

// Every connection of the publisher and of the consumer is cut off after a while, anywhere
// in a frame.
func TestFlakyNetworkLosesNoConfirmedMessage(t *testing.T) {
	t.Parallel()
	const count = 2000
	vhost := harness.NewVhost(t)
	harness.DeclareQueue(t, harness.Channel(t, vhost.URL), "hello") // RabbitMQ 3.10 refuses messages while it makes a queue
	ofPublisher, ofConsumer := newNetwork(t, vhost.URL), newNetwork(t, vhost.URL)
	publishing := ofPublisher.fail(upstream, &fault{After: 300_007, Cut: true})
	ofPublisher.fail(downstream, &fault{After: 4_001, Cut: true})
	consuming := ofConsumer.fail(downstream, &fault{After: 200_003, Cut: true})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	received := make(map[string]int)
	consumed := make(chan error, 1)
	allReceived := make(chan struct{})
	go func() {
		consumed <- amqpx.Run(ctx, ofConsumer.through(vhost.URL, ""), func(s *amqpx.Session) error {
			if err := s.Qos(30); err != nil {
				return err
			}
			deliveries, err := s.Consume(ctx, amqpx.Consumer{Queue: "hello"})
			if err != nil {
				return err
			}
			for d := range deliveries {
				received[d.MessageId]++
				if received[d.MessageId] == 1 && len(received) == count {
					close(allReceived)
				}
				if err := amqpx.Ack(d); err != nil {
					return err
				}
			}
			return nil
		})
	}()

	confirmed := make(map[string]bool)
	err := publishSideBySide(ctx, ofPublisher.through(vhost.URL, ""), "hello", 100,
		numberedMessages(count, make([]byte, 1000)), func(msg *amqp.Publishing) { confirmed[msg.MessageId] = true })
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-allReceived:
	case <-time.After(time.Minute):
	}
	cancel()
	if err := <-consumed; err != nil {
		t.Error(err)
	}
	lost, doubled := 0, 0
	for id := range confirmed {
		if received[id] == 0 {
			lost++
		}
		doubled += max(0, received[id]-1)
	}
	cuts := publishing.met.Load() + consuming.met.Load()
	t.Logf("%d connections, %d messages confirmed, %d received, %d doubled, lost = %d", cuts, len(confirmed), len(received), doubled, lost)
	if lost > 0 || len(confirmed) != count || len(received) != count || cuts < 10 {
		t.Error("want all messages confirmed and received, over many connections")
	}
}
