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

func TestRPC(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	server := startConsumer(t, v.URL, "rpc_server")

	client := harness.Run(t, v.URL, 0, "rpc_client")
	wantStdout(t, client, " [x] Requesting fib(30)", " [.] Got 832040")
	wantStderr(t, client)

	client = harness.Run(t, v.URL, 0, "rpc_client", "0", "1", "2", "90")
	got := client.Stdout()
	slices.Sort(got[4:]) // the answers come in any order
	want := []string{
		" [x] Requesting fib(0)", " [x] Requesting fib(1)", " [x] Requesting fib(2)", " [x] Requesting fib(90)",
		" [.] Got 0", " [.] Got 1", " [.] Got 1", " [.] Got 2880067194370816120",
	}
	if !slices.Equal(got, want) {
		t.Errorf("stdout is %q, want %q", got, want)
	}

	server.Stop()
	computed := server.Stdout()
	slices.Sort(computed[2:]) // calls that are made at once come in any order
	if want := []string{awaitingRequests, " [.] fib(30)", " [.] fib(0)", " [.] fib(1)", " [.] fib(2)", " [.] fib(90)"}; !slices.Equal(computed, want) {
		t.Errorf("the server's stdout is %q, want %q", computed, want)
	}
	wantStderr(t, server)
}

// fibonacci computes by F(n) = (φⁿ-ψⁿ)/√5 in the ring of a+b√5, so that a mistake
// in the server's way of adding is not repeated here.
func fibonacci(n int) *big.Int {
	// (1+√5)ⁿ = a+b√5, and F(n) = 2b/2ⁿ.
	a, b := big.NewInt(1), big.NewInt(0)
	for range n {
		five := new(big.Int).Mul(b, big.NewInt(5))
		a, b = five.Add(five, a), new(big.Int).Add(a, b)
	}
	return b.Rsh(b.Lsh(b, 1), uint(n))
}

func TestRPCIsExactForLargeNumbers(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	startConsumer(t, v.URL, "rpc_server")
	for _, n := range []int{93, 1000, 10000} {
		client := harness.Run(t, v.URL, 0, "rpc_client", strconv.Itoa(n))
		wantStdout(t, client, fmt.Sprintf(" [x] Requesting fib(%d)", n), " [.] Got "+fibonacci(n).String())
	}
}

// Several servers share the requests; every answer finds its call.
func TestManyCallsOnSeveralServers(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	servers := []*harness.Process{
		startConsumer(t, v.URL, "rpc_server"),
		startConsumer(t, v.URL, "rpc_server", "-prefetch", "10"),
		startConsumer(t, v.URL, "rpc_server", "-prefetch=0"),
	}
	var args, want []string
	for n := range 300 {
		args = append(args, strconv.Itoa(n))
		want = append(want, fmt.Sprintf(" [x] Requesting fib(%d)", n), " [.] Got "+fibonacci(n).String())
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

func TestNoServer(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	client := harness.Run(t, v.URL, 1, "rpc_client", "-timeout", "2s", "5")
	wantStdout(t, client, " [x] Requesting fib(5)")
	wantStderr(t, client, " [!] fib(5): no answer within 2s. rpc_queue has no consumer now: start a server with go run ./cmd/rpc_server")

	// What nobody waits for any more is not computed.
	awaitReady(t, v, "rpc_queue", 0)
	server := startConsumer(t, v.URL, "rpc_server")
	wantStdout(t, harness.Run(t, v.URL, 0, "rpc_client", "6"), " [x] Requesting fib(6)", " [.] Got 8")
	server.Stop()
	wantStdout(t, server, awaitingRequests, " [.] fib(6)")
}

// What all calls lack alike is told once.
func TestNoServerForSeveralCalls(t *testing.T) {
	t.Parallel()
	client := harness.Run(t, harness.NewVhost(t).URL, 1, "rpc_client", "-timeout=2s", "5", "6", "7")
	if got := client.Stderr(); len(got) != 1 || !strings.Contains(got[0], "): no answer within 2s. rpc_queue has no consumer now") {
		t.Errorf("stderr is %q", got)
	}
}

// What each call lacks is told for each.
func TestSeveralRefusals(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	startConsumer(t, v.URL, "rpc_server")
	client := harness.Run(t, v.URL, 1, "rpc_client", "--", "10001", "10", "10002", "-3")
	got := client.Stderr()
	slices.Sort(got)
	want := []string{
		" [!] fib(-3): the server refused: n is -3; it must not be negative",
		" [!] fib(10001): the server refused: n is too large; this server goes up to 10000",
		" [!] fib(10002): the server refused: n is too large; this server goes up to 10000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("stderr is %q, want %q", got, want)
	}
	client.Await(" [.] Got 55")
}

func TestRequestExpires(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	client := harness.Start(t, v.URL, "rpc_client", "-timeout=30s", "5")
	client.Await("Requesting")
	awaitTemporaryQueue(t, v) // declared after the queue of requests
	awaitReady(t, v, "rpc_queue", 1)
	request := get(t, channel(t, v.URL), "rpc_queue")
	left, err := strconv.Atoi(request.Expiration)
	if err != nil || left < 1 || left > 30_000 {
		t.Errorf("the request expires after %q ms, want up to 30000", request.Expiration)
	}
	if string(request.Body) != "5" || request.CorrelationId == "" || !strings.HasPrefix(request.ReplyTo, "amq.gen-") {
		t.Errorf("the request is %q, correlation_id %q, reply_to %q", request.Body, request.CorrelationId, request.ReplyTo)
	}
}

func TestClientTellsARefusal(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	server := startConsumer(t, v.URL, "rpc_server")

	client := harness.Run(t, v.URL, 1, "rpc_client", "10", "10001")
	client.Await(" [.] Got 55")
	wantStderr(t, client, " [!] fib(10001): the server refused: n is too large; this server goes up to 10000")

	client = harness.Run(t, v.URL, 1, "rpc_client", "--", "-1")
	wantStdout(t, client, " [x] Requesting fib(-1)")
	wantStderr(t, client, " [!] fib(-1): the server refused: n is -1; it must not be negative")

	server.Stop()
	wantStdout(t, server, awaitingRequests, " [.] fib(10)")
}

// An rpcPeer is a client of another make: it has a queue for answers and says in
// its requests whatever it likes.
type rpcPeer struct {
	*amqp.Channel
	replies string
	answers <-chan amqp.Delivery
}

func newRPCPeer(t *testing.T, v *harness.Vhost) rpcPeer {
	t.Helper()
	ch := channel(t, v.URL)
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rpcPeer{ch, q.Name, answers}
}

func (p rpcPeer) request(t *testing.T, body, replyTo, correlationID string) {
	t.Helper()
	publish(t, p.Channel, "", "rpc_queue", amqp.Publishing{Body: []byte(body), ReplyTo: replyTo, CorrelationId: correlationID})
}

func (p rpcPeer) answer(t *testing.T) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-p.answers:
		if !ok {
			t.Fatal("the connection is lost")
		}
		return d
	case <-time.After(soon):
		t.Fatal("no answer")
	}
	panic("unreachable")
}

func TestServerSurvivesBadRequests(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	server := startConsumer(t, v.URL, "rpc_server")
	peer := newRPCPeer(t, v)
	huge := strings.Repeat("9", 1<<20)
	for i, test := range []struct{ body, reason string }{
		{"thirty", `"thirty" is not a whole number that fits here`},
		{"", `"" is not a whole number that fits here`},
		{"-5", "n is -5; it must not be negative"},
		{"10001", "n is too large; this server goes up to 10000"},
		{huge, `"99999999999999999999" is not a whole number that fits here`},
		{"3.5", `"3.5" is not a whole number that fits here`},
		{"\x1b[2J\n7", `"\x1b[2J\n7" is not a whole number that fits here`},
	} {
		id := fmt.Sprintf("call %d \x1b", i)
		peer.request(t, test.body, peer.replies, id)
		answer := peer.answer(t)
		if answer.Type != "error" || string(answer.Body) != test.reason || answer.CorrelationId != id {
			t.Errorf("request %.30q: answer %q, type %q, correlation id %q", test.body, answer.Body, answer.Type, answer.CorrelationId)
		}
		server.Await(" [!] refused a request: " + test.reason)
	}

	// Nobody can be answered.
	for _, replyTo := range []string{
		"", "no-such-queue", "amq.rabbitmq.reply-to.bogus", "amq.rabbitmq.reply-to.bogus.g1h2.AAAA",
		"amq.gen-of-somebody-else", "\x1b[2J", "\xff", strings.Repeat("q", 255), "hello", "rpc_queue",
	} {
		peer.request(t, "12", replyTo, "ignored")
		peer.request(t, "thirteen", replyTo, "ignored")
	}

	peer.request(t, "10", peer.replies, "last")
	for {
		answer := peer.answer(t)
		if answer.CorrelationId == "last" {
			if string(answer.Body) != "55" || answer.Type != "" {
				t.Errorf("fib(10) is %q, type %q", answer.Body, answer.Type)
			}
			break
		}
		t.Errorf("an answer that was not asked for: %q", answer.Body)
	}
	awaitHeld(t, v, "rpc_queue", 0, 0) // everything is acknowledged, and no answer became a request again and again
	for _, line := range server.Lines() {
		if strings.Contains(line.Text, "connecting again") {
			t.Errorf("a request has cost the server its connection: %q", line.Text)
		}
	}
	server.Stop()
}

// strays are answers that nobody has asked for.
var strays = []amqp.Publishing{
	{CorrelationId: "", Body: []byte("1")},
	{CorrelationId: "0", Body: []byte("1")},
	{CorrelationId: "2", Body: []byte("1")},
	{CorrelationId: "-1", Body: []byte("1")},
	{CorrelationId: " 1", Body: []byte("1")},
	{CorrelationId: "18446744073709551616", Body: []byte("1")},
	{CorrelationId: "somebody else's \x1b[2J", Body: []byte("1")},
	{CorrelationId: "2", Type: "error", Body: []byte("stray")},
	{CorrelationId: strings.Repeat("1", 255), Body: []byte("")},
}

func TestClientIgnoresStrayAnswers(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	client := harness.Start(t, v.URL, "rpc_client", "-timeout=1m", "7")
	ch := channel(t, v.URL)
	replies := awaitTemporaryQueue(t, v)
	for _, stray := range strays {
		publish(t, ch, "", replies, stray)
	}
	startConsumer(t, v.URL, "rpc_server")
	if status := client.Wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	wantStdout(t, client, " [x] Requesting fib(7)", " [.] Got 13")
	wantStderr(t, client)
}

// A server of another make may answer anything.
func TestClientChecksTheAnswer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer amqp.Publishing
		status int
		line   string
	}{
		{amqp.Publishing{Body: []byte("13")}, 0, " [.] Got 13"},
		{amqp.Publishing{Body: []byte("")}, 1, ` [!] fib(7): the answer is not a number: ""`},
		{amqp.Publishing{Body: []byte("thirteen")}, 1, ` [!] fib(7): the answer is not a number: "thirteen"`},
		{amqp.Publishing{Body: []byte("\x1b[2J" + strings.Repeat("x", 1<<20))}, 1, ` [!] fib(7): the answer is not a number: "\x1b[2Jxxxxxxxxxxxxxxxx"`},
		{amqp.Publishing{Type: "error", Body: []byte("no\x1b[2J\nno")}, 1, ` [!] fib(7): the server refused: no\x1b[2J\nno`},
		{amqp.Publishing{Type: "error"}, 1, ` [!] fib(7): the server refused: `},
	} {
		t.Run(test.line, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := channel(t, v.URL)
			declareQueue(t, ch, "rpc_queue")
			requests, err := ch.Consume("rpc_queue", "", true, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			client := harness.Start(t, v.URL, "rpc_client", "-timeout=1m", "7")
			request := <-requests
			test.answer.CorrelationId = request.CorrelationId
			publish(t, ch, "", request.ReplyTo, test.answer)
			if status := client.Wait(); status != test.status {
				t.Errorf("exit status %d, want %d", status, test.status)
			}
			if printed := append(client.Stdout(), client.Stderr()...); !slices.Equal(printed, []string{" [x] Requesting fib(7)", test.line}) {
				t.Errorf("printed:\n%s\nwant %q", client.Output(), test.line)
			}
		})
	}
}

// amqpRequest asks for fib(5000).
func amqpRequest(id int, replyTo string) amqp.Publishing {
	return amqp.Publishing{Body: []byte("5000"), ReplyTo: replyTo, CorrelationId: strconv.Itoa(id)}
}

// Of several refusals, each is printed so that it cannot drive the terminal.
func TestHostileRefusals(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := channel(t, v.URL)
	declareQueue(t, ch, "rpc_queue")
	requests, err := ch.Consume("rpc_queue", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := harness.Start(t, v.URL, "rpc_client", "-timeout=1m", "7", "8")
	for range 2 {
		request := <-requests
		publish(t, ch, "", request.ReplyTo, amqp.Publishing{CorrelationId: request.CorrelationId, Type: "error", Body: []byte("\x1b[2J\n\xff")})
	}
	if status := client.Wait(); status != 1 {
		t.Errorf("exit status %d", status)
	}
	got := client.Stderr()
	slices.Sort(got)
	if want := []string{` [!] fib(7): the server refused: \x1b[2J\n\xff`, ` [!] fib(8): the server refused: \x1b[2J\n\xff`}; !slices.Equal(got, want) {
		t.Errorf("stderr is %q, want %q", got, want)
	}
}
