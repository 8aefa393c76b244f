package harness

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The first line of each consumer. When it is printed, the program has declared and bound all that
// it needs, and consumes.
const (
	WaitingForMessages = " [*] Waiting for messages. To exit press CTRL+C"
	WaitingForLogs     = " [*] Waiting for logs. To exit press CTRL+C"
	AwaitingRequests   = " [x] Awaiting RPC requests"
)

// A Consumer is a program of the lessons that takes messages until it is stopped.
type Consumer struct {
	Program       string
	Args          []string // with these it gets what is published to Exchange with Key
	Ready         string   // its first line
	Exchange, Key string
	Prints        string // what a line for a message begins with; the body follows
}

// Consumers returns the consumers of all lessons.
func Consumers() []Consumer {
	return []Consumer{
		{"receive", nil, WaitingForMessages, "", "hello", " [x] Received "},
		{"worker", []string{"-unit=1ms"}, WaitingForMessages, "", "task_queue", " [x] Received "},
		{"receive_logs", nil, WaitingForLogs, "logs", "", " [x] "},
		{"receive_logs_direct", []string{"info"}, WaitingForLogs, "direct_logs", "info", " [x] info:"},
		{"receive_logs_topic", []string{"kern.*"}, WaitingForLogs, "topic_logs", "kern.info", " [x] kern.info:"},
		{"rpc_server", nil, AwaitingRequests, "", "rpc_queue", " [.] fib("},
		{"pipeline_stage", nil, WaitingForMessages, "", "pipeline_numbers", " [.] fib("},
		{"pipeline_collect", nil, WaitingForMessages, "", "pipeline_results", " [x] fib(10) = "},
		{"retry_worker", []string{"-pause=1ms"}, WaitingForMessages, "", "retry_tasks", " [x] Received "},
	}
}

// Start starts the consumer and waits until it consumes.
func (c Consumer) Start(t testing.TB, url string) *Process {
	t.Helper()
	return StartConsumer(t, url, c.Program, c.Args...)
}

// StartConsumer starts a consumer with arguments of the test's own, and waits until it consumes.
func StartConsumer(t testing.TB, url, program string, args ...string) *Process {
	t.Helper()
	consumers := Consumers()
	i := slices.IndexFunc(consumers, func(c Consumer) bool { return c.Program == program })
	p := Start(t, url, program, args...)
	p.Await(consumers[i].Ready)
	return p
}

// Publishers returns the programs that publish and end by themselves; without arguments each
// publishes its default.
func Publishers() []string {
	return []string{"send", "new_task", "emit_log", "emit_log_direct", "emit_log_topic", "pipeline_submit", "retry_task"}
}

// WantFailure waits for the end of a program that must fail: with exit status 1, and one line on
// stderr, which it returns.
func WantFailure(t testing.TB, p *Process) string {
	t.Helper()
	if status := p.Wait(); status != 1 || len(p.Stderr()) != 1 || !strings.HasPrefix(p.Stderr()[0], " [!] ") {
		t.Fatalf("want exit status 1 and one line on stderr, not %d and\n%s", status, p.Output())
	}
	return p.Stderr()[0]
}

// WantFailureAtLast is WantFailure for a program that has tried again: it said so in other lines before.
func WantFailureAtLast(t testing.TB, p *Process) string {
	t.Helper()
	status, lines := p.Wait(), p.Stderr()
	if status != 1 || len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], " [!] ") {
		t.Fatalf("want exit status 1 and a line on stderr, not %d and\n%s", status, p.Output())
	}
	return lines[len(lines)-1]
}

// Numbered returns n texts: prefix1, prefix2, ...
func Numbered(prefix string, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprint(prefix, i+1)
	}
	return texts
}
