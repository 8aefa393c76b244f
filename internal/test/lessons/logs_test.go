package lessons_test

import (
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

func TestFanoutCopiesToEveryReceiver(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	receivers := []*harness.Process{
		harness.StartConsumer(t, v.URL, "receive_logs"),
		harness.StartConsumer(t, v.URL, "receive_logs"),
		harness.StartConsumer(t, v.URL, "receive_logs"),
	}
	for _, line := range []string{"The disk is nearly full", "The disk is full"} {
		emit := harness.Run(t, v.URL, 0, "emit_log", strings.Fields(line)...)
		wantStdout(t, emit, " [x] Sent "+line)
		wantStderr(t, emit)
	}
	for _, receiver := range receivers {
		receiver.Await("is full")
		receiver.Stop()
		wantLogs(t, receiver, "The disk is nearly full", "The disk is full")
	}
}

func TestLateReceiverGetsNothingOld(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	early := harness.StartConsumer(t, v.URL, "receive_logs")
	harness.Run(t, v.URL, 0, "emit_log", "old")
	early.Await("old")
	late := harness.StartConsumer(t, v.URL, "receive_logs")
	harness.Run(t, v.URL, 0, "emit_log", "new")
	early.Await("new")
	late.Await("new")
	late.Stop()
	wantLogs(t, late, "new")
}

func TestDiscardedLogIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		args         []string
		stdout, note string
	}{
		{"emit_log", []string{"unheard"}, "unheard", "nobody is listening: the message was discarded"},
		{"emit_log_direct", []string{"error", "unheard"}, "error:unheard", "nobody is listening for this severity: the message was discarded"},
		{"emit_log_topic", []string{"kern.critical", "unheard"}, "kern.critical:unheard", "nobody is listening for this topic: the message was discarded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			// A receiver listens, but to something else.
			harness.StartConsumer(t, v.URL, "receive_logs_direct", "info", "errors")
			harness.StartConsumer(t, v.URL, "receive_logs_topic", "kern", "*.info")
			emit := harness.Run(t, v.URL, 0, test.name, test.args...)
			wantStdout(t, emit, " [x] Sent "+test.stdout)
			wantStderr(t, emit, " [!] "+test.note)
		})
	}
}

func TestReceiverGetsTheSeveritiesThatItNames(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	file := harness.StartConsumer(t, v.URL, "receive_logs_direct", "warning", "error")
	screen := harness.StartConsumer(t, v.URL, "receive_logs_direct", "info", "warning", "error")
	alarm := harness.StartConsumer(t, v.URL, "receive_logs_direct", "error", "error") // twice is once
	for _, line := range []string{"info:up", "warning:hot", "error:on fire", "Error:other case", "error:the end"} {
		severity, text, _ := strings.Cut(line, ":")
		wantStdout(t, harness.Run(t, v.URL, 0, "emit_log_direct", severity, text), " [x] Sent "+line)
	}
	for receiver, want := range map[*harness.Process][]string{
		file:   {"warning:hot", "error:on fire", "error:the end"},
		screen: {"info:up", "warning:hot", "error:on fire", "error:the end"},
		alarm:  {"error:on fire", "error:the end"},
	} {
		receiver.Await("the end")
		receiver.Stop()
		wantLogs(t, receiver, want...)
	}
}

// wantLogs compares all that a receiver of logs has printed.
func wantLogs(t testing.TB, receiver *harness.Process, logs ...string) {
	t.Helper()
	want := []string{harness.WaitingForLogs}
	for _, log := range logs {
		want = append(want, " [x] "+log)
	}
	wantStdout(t, receiver, want...)
	wantStderr(t, receiver)
}

// "*" is exactly one word, "#" is zero or more; "" has no word at all.
func TestTopicPatternsMatchWholeWords(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	topics := []string{"", "lazy", "lazy.orange", "quick.orange.rabbit", "lazy.orange.fox", "lazy.brown.fox",
		"lazy..fox", "lazy.orange.male.rabbit", "lazy.orange.rabbit", "*.orange.fox"}
	patterns := map[string][]string{
		"#":             topics,
		"*":             {"lazy"},
		"":              {""},
		"lazy":          {"lazy"},
		"lazy.#":        {"lazy", "lazy.orange", "lazy.orange.fox", "lazy.brown.fox", "lazy..fox", "lazy.orange.male.rabbit", "lazy.orange.rabbit"},
		"lazy.*":        {"lazy.orange"},
		"*.orange.*":    {"quick.orange.rabbit", "lazy.orange.fox", "lazy.orange.rabbit", "*.orange.fox"},
		"*.*.rabbit":    {"quick.orange.rabbit", "lazy.orange.rabbit"},
		"lazy.*.fox":    {"lazy.orange.fox", "lazy.brown.fox", "lazy..fox"},
		"#.rabbit":      {"quick.orange.rabbit", "lazy.orange.male.rabbit", "lazy.orange.rabbit"},
		"lazy.#.rabbit": {"lazy.orange.male.rabbit", "lazy.orange.rabbit"},
		"#.orange.#":    {"lazy.orange", "quick.orange.rabbit", "lazy.orange.fox", "lazy.orange.male.rabbit", "lazy.orange.rabbit", "*.orange.fox"},
		"lazy.or*":      nil, // a star is a word, not a part of one
	}
	receivers := make(map[string]*harness.Process)
	for pattern := range patterns {
		receivers[pattern] = harness.Start(t, v.URL, "receive_logs_topic", pattern, "the.end")
	}
	for _, receiver := range receivers {
		receiver.Await(harness.WaitingForLogs)
	}
	for _, topic := range append(topics, "the.end") {
		wantStdout(t, harness.Run(t, v.URL, 0, "emit_log_topic", topic, "a", "line"), " [x] Sent "+topic+":a line")
	}
	for pattern, receiver := range receivers {
		t.Run(pattern, func(t *testing.T) {
			receiver.Await("the.end:")
			receiver.Stop()
			var want []string
			for _, topic := range patterns[pattern] {
				want = append(want, topic+":a line")
			}
			wantLogs(t, receiver, append(want, "the.end:a line")...)
		})
	}
}

// A queue gets one copy of a message that matches two of its bindings.
func TestOverlappingPatternsDeliverOnce(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	receiver := harness.StartConsumer(t, v.URL, "receive_logs_topic", "kern.*", "*.critical", "#")
	harness.Run(t, v.URL, 0, "emit_log_topic", "kern.critical", "once")
	harness.Run(t, v.URL, 0, "emit_log_topic", "the.end", "twice")
	receiver.Await("the.end")
	receiver.Stop()
	wantLogs(t, receiver, "kern.critical:once", "the.end:twice")
}
