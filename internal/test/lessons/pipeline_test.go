package lessons_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

func TestNumbersWaitForTheirStage(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	submit := harness.Run(t, v.URL, 0, "pipeline_submit", "10", "20", "30")
	wantStdout(t, submit, " [x] Submitted 10", " [x] Submitted 20", " [x] Submitted 30")
	v.AwaitQueue("pipeline_numbers", 3, 0)

	stage := harness.StartConsumer(t, v.URL, "pipeline_stage")
	for _, n := range []string{"10", "20", "30"} {
		stage.Await(" [.] fib(" + n + ")")
	}
	v.AwaitReady("pipeline_results", 3) // nor does a stage need somebody who collects
	collect := harness.StartConsumer(t, v.URL, "pipeline_collect")
	collect.Await("fib(30)")
	wantStdout(t, collect, harness.WaitingForMessages, " [x] fib(10) = 55", " [x] fib(20) = 6765", " [x] fib(30) = 832040")
	for _, p := range []*harness.Process{submit, stage, collect} {
		wantStderr(t, p)
	}
	stage.Stop()
	collect.Stop()
	v.AwaitQueue("pipeline_numbers", 0, 0)
	v.AwaitQueue("pipeline_results", 0, 0)
}

// All messages are persistent, each number has an id of its own, and its result has the same.
func TestPipelineKeepsTheWireContract(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	ids := make(map[string]bool)
	for range 2 {
		harness.Run(t, v.URL, 0, "pipeline_submit", "7", "7")
		for range 2 {
			number := harness.Get(t, ch, "pipeline_numbers")
			if string(number.Body) != "7" || number.DeliveryMode != amqp.Persistent || number.MessageId == "" {
				t.Errorf("the number is %q, delivery mode %d, message id %q", number.Body, number.DeliveryMode, number.MessageId)
			}
			ids[number.MessageId] = true
		}
	}
	if len(ids) != 4 {
		t.Errorf("four numbers have %d message ids", len(ids))
	}

	harness.StartConsumer(t, v.URL, "pipeline_stage")
	for _, test := range []struct {
		number, body string
		headers      amqp.Table
	}{
		{"30", "832040", amqp.Table{"n": int32(30)}},
		{"-1", "-1", amqp.Table{"error": "n is -1; it must not be negative"}},
	} {
		harness.PublishMessages(t, ch, "", "pipeline_numbers", amqp.Publishing{MessageId: "an id \x1b", Body: []byte(test.number)})
		v.AwaitReady("pipeline_results", 1)
		got := harness.Get(t, ch, "pipeline_results")
		if string(got.Body) != test.body || got.MessageId != "an id \x1b" || got.DeliveryMode != amqp.Persistent ||
			got.Headers["n"] != test.headers["n"] || got.Headers["error"] != test.headers["error"] {
			t.Errorf("%s became %q with the headers %v, message id %q, delivery mode %d",
				test.number, got.Body, got.Headers, got.MessageId, got.DeliveryMode)
		}
	}
}

func TestStagesShareTheNumbers(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	stages := []*harness.Process{
		harness.StartConsumer(t, v.URL, "pipeline_stage"),
		harness.StartConsumer(t, v.URL, "pipeline_stage", "-prefetch=10"),
		harness.StartConsumer(t, v.URL, "pipeline_stage", "-prefetch", "0"),
	}
	harness.Publish(t, harness.Channel(t, v.URL), "", "pipeline_numbers", slices.Repeat([]string{"100"}, 300)...)
	v.AwaitReady("pipeline_results", 300)
	computed := 0
	for _, stage := range stages {
		stage.Stop()
		n := len(stage.Stdout()) - 1
		if n == 0 {
			t.Error("a stage got no number")
		}
		computed += n
	}
	if computed != 300 {
		t.Errorf("300 numbers were computed %d times", computed)
	}
	v.AwaitQueue("pipeline_numbers", 0, 0)
}

// A broker that refuses the result has not confirmed it: the number stays in the queue.
func TestNumberStaysUntilItsResultIsConfirmed(t *testing.T) {
	t.Parallel()
	for _, prefetch := range []string{"-prefetch=1", "-prefetch=10"} {
		t.Run(prefetch, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := harness.Channel(t, v.URL)
			harness.DeclareQueue(t, ch, "pipeline_results")
			harness.Publish(t, ch, "", "pipeline_results", "in the way", "and another")
			v.SetPolicy("full", "^pipeline_results$", map[string]any{"max-length": 1, "overflow": "reject-publish"})
			stage := harness.StartConsumer(t, v.URL, "pipeline_stage", prefetch)
			harness.Run(t, v.URL, 0, "pipeline_submit", "1", "2", "3", "4", "5")
			if line := harness.WantFailureAtLast(t, stage); !strings.HasPrefix(line, ` [!] publish to queue "pipeline_results": the broker refused the message.`) {
				t.Errorf("stderr is %q", line)
			}
			v.AwaitQueue("pipeline_numbers", 5, 0)
		})
	}
}

// The stage has published its result, and dies before it acknowledges the number.
func TestResultThatComesTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	collect := harness.StartConsumer(t, v.URL, "pipeline_collect")
	stage := harness.StartConsumer(t, v.URL, "pipeline_stage", "-delay=1h")
	harness.Run(t, v.URL, 0, "pipeline_submit")
	collect.Await("fib(30)")
	stage.Kill()
	heir := harness.StartConsumer(t, v.URL, "pipeline_stage")
	heir.Await("fib(30)")
	collect.Await(" again, ignored")
	harness.Run(t, v.URL, 0, "pipeline_submit") // the same number, but another submission
	collect.Await("fib(30)")
	collect.Stop()
	wantStdout(t, collect, harness.WaitingForMessages, " [x] fib(30) = 832040", " [x] fib(30) = 832040")
	wantStderr(t, collect, " [!] fib(30) = 832040 again, ignored")
	v.AwaitQueue("pipeline_results", 0, 0)
}

func TestStageThatAcknowledgesFirstLosesItsNumbers(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	stage := harness.StartConsumer(t, v.URL, "pipeline_stage", "-ack-first", "-delay=1h")
	harness.Run(t, v.URL, 0, "pipeline_submit", "10", "20")
	stage.Await("fib(10)")
	stage.Await("fib(20)") // there is no prefetch limit
	v.AwaitQueue("pipeline_numbers", 0, 0)
	stage.Kill()

	heir := harness.StartConsumer(t, v.URL, "pipeline_stage", "-ack-first")
	harness.Run(t, v.URL, 0, "pipeline_submit", "30")
	v.AwaitReady("pipeline_results", 1)
	heir.Stop()
	wantStdout(t, heir, harness.WaitingForMessages, " [.] fib(30)")
}

// After Ctrl+C, a stage publishes the results of the numbers in hand, acknowledges them, and hands
// back the rest.
func TestInterruptedStageFinishesWhatIsInHand(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "pipeline_numbers")
	const numbers = 300
	harness.Publish(t, ch, "", "pipeline_numbers", slices.Repeat([]string{"10000"}, numbers)...)
	stage := harness.StartConsumer(t, v.URL, "pipeline_stage", "-prefetch=20")
	stage.Await(" [.] fib(10000)")
	stage.Stop()
	wantStderr(t, stage)
	begun := len(stage.Stdout()) - 1
	if begun == numbers {
		t.Error("the stage has computed all numbers, so this tested nothing")
	}
	v.AwaitQueue("pipeline_numbers", numbers-begun, 0)
	v.AwaitReady("pipeline_results", begun)
}

// Whoever can publish to its queues cannot stop the pipeline. What it cannot compute goes on with
// the reason, and what is no result is named.
func TestPipelineSurvivesBadMessages(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	stage := harness.StartConsumer(t, v.URL, "pipeline_stage")
	collect := harness.StartConsumer(t, v.URL, "pipeline_collect")
	ch := harness.Channel(t, v.URL)
	for _, test := range []struct{ body, collected string }{
		{"thirty", `no result for "thirty": "thirty" is not a whole number that fits here`},
		{"", `no result for "": "" is not a whole number that fits here`},
		{"-5", `no result for "-5": n is -5; it must not be negative`},
		{"10001", `no result for "10001": n is too large; the largest here is 10000`},
		{strings.Repeat("9", 1<<20), `no result for "99999999999999999999": "99999999999999999999" is not a whole number that fits here`},
		{"\x1b[2J\n7", `no result for "\x1b[2J\n7": "\x1b[2J\n7" is not a whole number that fits here`},
	} {
		harness.Publish(t, ch, "", "pipeline_numbers", test.body)
		_, reason, _ := strings.Cut(test.collected, ": ")
		stage.Await(" [!] refused a number: " + reason)
		collect.Await(" [!] " + test.collected)
	}

	number := amqp.Table{"n": int64(7)}
	for _, test := range []struct {
		result    amqp.Publishing
		collected string
	}{
		{amqp.Publishing{Body: []byte("13")}, `[!] "13": neither a result`},
		{amqp.Publishing{Body: []byte("thirteen"), Headers: number}, `[!] "thirteen": neither a result`},
		{amqp.Publishing{Body: []byte("\x1b[2J" + strings.Repeat("x", 1<<20)), Headers: number}, `[!] "\x1b[2Jxxxxxxxxxxxxxxxx": neither`},
		{amqp.Publishing{Body: bytes.Repeat([]byte("9"), 1<<20), Headers: number}, `[!] "99999999999999999999": neither a result`},
		{amqp.Publishing{Body: []byte("13"), Headers: amqp.Table{"n": "seven"}}, `[!] "13": neither a result`},
		{amqp.Publishing{Body: []byte("13"), Headers: amqp.Table{"n": 7.0}}, `[!] "13": neither a result`},
		{amqp.Publishing{Body: []byte("13"), Headers: amqp.Table{"error": "no\x1b[2J\n\xff"}}, `[!] no result for "13": no\x1b[2J\n\xff`},
		{amqp.Publishing{Body: []byte("13"), Headers: amqp.Table{"error": int32(7)}}, `[!] "13": neither a result`},
		{amqp.Publishing{Body: []byte("13"), Headers: amqp.Table{"n": int8(7)}}, "[x] fib(7) = 13"},
		{amqp.Publishing{Body: []byte("13"), Headers: number}, "[x] fib(7) = 13"},
		{amqp.Publishing{Body: []byte("13"), Headers: number}, "[x] fib(7) = 13"}, // without an id, it is not known to be the same
	} {
		harness.PublishMessages(t, ch, "", "pipeline_results", test.result)
		collect.Await(test.collected)
	}
	stage.Stop()
	collect.Stop()
	wantStdout(t, stage, harness.WaitingForMessages)
	v.AwaitQueue("pipeline_numbers", 0, 0)
	v.AwaitQueue("pipeline_results", 0, 0)
}
