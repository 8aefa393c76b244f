package lessons_test

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// Several servers share the requests, and every call gets its own answer.
func TestServersShareTheCalls(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	servers := []*harness.Process{
		harness.StartConsumer(t, v.URL, "rpc_server"),
		harness.StartConsumer(t, v.URL, "rpc_server", "-prefetch", "10"),
		harness.StartConsumer(t, v.URL, "rpc_server", "-prefetch=0"),
	}
	var args, want []string
	f, next := big.NewInt(0), big.NewInt(1)
	for n := range 10_001 {
		if n < 300 || n == 10_000 { // the largest that a server computes
			args = append(args, strconv.Itoa(n))
			want = append(want, fmt.Sprintf(" [x] Requesting fib(%d)", n), " [.] Got "+f.String())
		}
		f, next = next, f.Add(f, next)
	}
	client := harness.Run(t, v.URL, 0, "rpc_client", append([]string{"-timeout=1m"}, args...)...)
	got := client.Stdout()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("stdout is\n%q\nwant\n%q", got, want)
	}
	requests := 0
	for _, server := range servers {
		server.Stop()
		n := len(server.Stdout()) - 1
		if n == 0 {
			t.Error("a server got no request")
		}
		requests += n
	}
	if requests != len(args) {
		t.Errorf("%d calls became %d requests", len(args), requests)
	}
}

func TestTwoServersAreFasterThanOne(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	fourCalls := func() time.Duration {
		client := harness.Run(t, v.URL, 0, "rpc_client", "-timeout=1m", "1", "2", "3", "4")
		lines := client.Lines()
		return lines[len(lines)-1].At.Sub(lines[0].At)
	}
	harness.StartConsumer(t, v.URL, "rpc_server", "-delay", "1s")
	one := fourCalls()
	harness.StartConsumer(t, v.URL, "rpc_server", "-delay", "1s")
	two := fourCalls()
	t.Logf("four calls of a second: %.1f s with one server, %.1f s with two", one.Seconds(), two.Seconds())
	if one < 4*time.Second || two < 2*time.Second || two >= one {
		t.Errorf("one server took %v, two took %v", one, two)
	}
}

func TestCallWithoutAServerTimesOut(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	client := harness.Run(t, v.URL, 1, "rpc_client", "-timeout", "2s", "5")
	wantStdout(t, client, " [x] Requesting fib(5)")
	wantStderr(t, client, " [!] fib(5): no answer within 2s. rpc_queue has no consumer now: start a server with go run ./cmd/rpc_server")

	// No server computes what nobody waits for any more.
	v.AwaitReady("rpc_queue", 0)
	server := harness.StartConsumer(t, v.URL, "rpc_server")
	wantStdout(t, harness.Run(t, v.URL, 0, "rpc_client", "6"), " [x] Requesting fib(6)", " [.] Got 8")
	server.Stop()
	wantStdout(t, server, harness.AwaitingRequests, " [.] fib(6)")
}

// The client reports only once what all calls share.
func TestCallsWithoutAServerAreToldOnce(t *testing.T) {
	t.Parallel()
	client := harness.Run(t, harness.NewVhost(t).URL, 1, "rpc_client", "-timeout=2s", "5", "6", "7")
	if got := client.Stderr(); len(got) != 1 || !strings.Contains(got[0], "): no answer within 2s. rpc_queue has no consumer now") {
		t.Errorf("stderr is %q", got)
	}
}

func TestRequestExpiresWithItsCall(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	client := harness.Start(t, v.URL, "rpc_client", "-timeout=30s", "5")
	client.Await("Requesting")
	v.AwaitReady("rpc_queue", 1)
	request := harness.Get(t, harness.Channel(t, v.URL), "rpc_queue")
	left, err := strconv.Atoi(request.Expiration)
	if err != nil || left < 20_000 || left > 30_000 {
		t.Errorf("the request expires after %q ms, want up to 30000", request.Expiration)
	}
	if string(request.Body) != "5" || request.CorrelationId == "" || !strings.HasPrefix(request.ReplyTo, "amq.gen-") {
		t.Errorf("the request is %q, correlation_id %q, reply_to %q", request.Body, request.CorrelationId, request.ReplyTo)
	}
}

// answersTo makes the answer queue of a client that is not rpc_client and may request anything, and
// consumes the answers.
func answersTo(t *testing.T, ch *amqp.Channel) (replyTo string, answers <-chan amqp.Delivery) {
	t.Helper()
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Name, harness.Consume(t, ch, q.Name, 0)
}

func TestServerSurvivesBadRequests(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	server := harness.StartConsumer(t, v.URL, "rpc_server")
	ch := harness.Channel(t, v.URL)
	replies, answers := answersTo(t, ch)
	request := func(body, replyTo, id string) {
		harness.PublishMessages(t, ch, "", "rpc_queue", amqp.Publishing{Body: []byte(body), ReplyTo: replyTo, CorrelationId: id})
	}
	huge := strings.Repeat("9", 1<<20)
	for i, test := range []struct{ body, reason string }{
		{"thirty", `"thirty" is not a whole number that fits here`},
		{"", `"" is not a whole number that fits here`},
		{"-5", "n is -5; it must not be negative"},
		{"10001", "n is too large; the largest here is 10000"},
		{huge, `"99999999999999999999" is not a whole number that fits here`},
		{"3.5", `"3.5" is not a whole number that fits here`},
		{"\x1b[2J\n7", `"\x1b[2J\n7" is not a whole number that fits here`},
	} {
		id := fmt.Sprintf("call %d \x1b", i)
		request(test.body, replies, id)
		answer := harness.Next(t, answers)
		if answer.Type != "error" || string(answer.Body) != test.reason || answer.CorrelationId != id {
			t.Errorf("request %.30q: answer %q, type %q, correlation id %q", test.body, answer.Body, answer.Type, answer.CorrelationId)
		}
		server.Await(" [!] refused a request: " + test.reason)
	}

	// These requests cannot be answered.
	for _, replyTo := range []string{
		"", "no-such-queue", "amq.rabbitmq.reply-to.bogus", "amq.rabbitmq.reply-to.bogus.g1h2.AAAA",
		"amq.gen-of-somebody-else", "\x1b[2J", "\xff", strings.Repeat("q", 255), "hello", "rpc_queue",
	} {
		request("12", replyTo, "ignored")
		request("thirteen", replyTo, "ignored")
	}

	request("10", replies, "last")
	if answer := harness.Next(t, answers); answer.CorrelationId != "last" || string(answer.Body) != "55" || answer.Type != "" {
		t.Errorf("fib(10) is %q, type %q, for %q", answer.Body, answer.Type, answer.CorrelationId)
	}
	v.AwaitQueue("rpc_queue", 0, 0)
	server.Stop()
	v.AwaitQueue("rpc_queue", 0, 0) // everything was acknowledged, and no answer has become a new request
	for _, line := range server.Lines() {
		if strings.Contains(line.Text, "connecting again") {
			t.Errorf("a request has cost the server its connection: %q", line.Text)
		}
	}
}

// The client prints each of several refusals so that it cannot drive the terminal.
func TestHostileRefusalsArePrintedEscaped(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "rpc_queue")
	requests := harness.Consume(t, ch, "rpc_queue", 0)
	client := harness.Start(t, v.URL, "rpc_client", "-timeout=1m", "7", "8")
	for range 2 {
		request := harness.Next(t, requests)
		harness.PublishMessages(t, ch, "", request.ReplyTo, amqp.Publishing{CorrelationId: request.CorrelationId, Type: "error", Body: []byte("\x1b[2J\n\xff")})
	}
	client.Exits(1)
	got := client.Stderr()
	slices.Sort(got)
	if want := []string{` [!] fib(7): the server refused: \x1b[2J\n\xff`, ` [!] fib(8): the server refused: \x1b[2J\n\xff`}; !slices.Equal(got, want) {
		t.Errorf("stderr is %q, want %q", got, want)
	}
}

// Every request gets one answer, from the server that was stopped or from the next.
func TestStoppedServerLeavesTheRestToTheNext(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	first := harness.StartConsumer(t, v.URL, "rpc_server", "-prefetch=20")
	ch := harness.Channel(t, v.URL)
	replies, answers := answersTo(t, ch)
	const requests = 300
	for i := range requests { // without waiting: the server would keep up
		request := amqp.Publishing{Body: []byte("5000"), ReplyTo: replies, CorrelationId: strconv.Itoa(i)}
		if _, err := ch.PublishWithDeferredConfirm("", "rpc_queue", false, false, request); err != nil {
			t.Fatal(err)
		}
	}
	first.Await("fib(5000)")
	first.Stop()
	harness.StartConsumer(t, v.URL, "rpc_server")
	answered := make(map[string]bool)
	for range requests {
		id := harness.Next(t, answers).CorrelationId
		if answered[id] {
			t.Errorf("request %s was answered twice", id)
		}
		answered[id] = true
	}
	if len(first.Stdout()) > requests {
		t.Error("the first server has answered all requests, so this tested nothing")
	}
	v.AwaitQueue("rpc_queue", 0, 0)
}
