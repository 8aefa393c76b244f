package lessons_test

import (
	"slices"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// hostile has bodies and keys that could drive a terminal or break a program, and how the
// programs must print them.
var hostile = []struct{ raw, printed string }{
	{"", ""},
	{"\x1b[31mred\x1b[0m \x1b]0;title\x07", `\x1b[31mred\x1b[0m \x1b]0;title\a`},
	{"\x1b[2J\x1b[H\x1bc", `\x1b[2J\x1b[H\x1bc`},
	{"one\ntwo\r\n [x] Done\n", `one\ntwo\r\n [x] Done\n`},
	{"back\b\b\b\bspace\rreturn\x00nul\x7f", `back\b\b\b\bspace\rreturn\x00nul\x7f`},
	{"\u009b31m \u0085", `\u009b31m \u0085`},
	{"\xff\xfe\x80 \xc3( \xed\xa0\x80", `\xff\xfe\x80 \xc3( \xed\xa0\x80`},
	{"invoice\u202efdp.exe \u2066\u2069\u200f", `invoice\u202efdp.exe \u2066\u2069\u200f`},
	{"a\u2028b\u2029c", `a\u2028b\u2029c`},
	{"%s%d%n\\x1b", `%s%d%n\x1b`}, // without !, which would fail in lesson 9
	{"żółć 漢字 🐇", "żółć 漢字 🐇"},
}

var huge = strings.Repeat("0123456789abcdef", 1<<16) // 1 MB, without a dot

// A program prints any body whole, on one line, and goes on.
func TestHostileBodiesArePrintedOnOneLine(t *testing.T) {
	t.Parallel()
	for _, c := range harness.Consumers() {
		if c.Program == "rpc_server" || strings.HasPrefix(c.Program, "pipeline") {
			continue // it takes only numbers: see TestServerSurvivesBadRequests, TestPipelineSurvivesBadMessages
		}
		t.Run(c.Program, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			p := c.Start(t, v.URL)
			var bodies []string
			want := []string{c.Ready}
			for _, h := range append(hostile, struct{ raw, printed string }{huge, huge}) {
				bodies = append(bodies, h.raw)
				want = append(want, c.Prints+h.printed)
			}
			harness.Publish(t, harness.Channel(t, v.URL), c.Exchange, c.Key, append(bodies, "the end")...)
			p.Await("the end")
			p.Stop()
			got := slices.DeleteFunc(p.Stdout(), func(line string) bool { return line == " [x] Done" })
			if want = append(want, c.Prints+"the end"); !slices.Equal(got, want) {
				t.Errorf("stdout is\n%.1000q\nwant\n%.1000q", got, want)
			}
			wantStderr(t, p)
			if c.Exchange == "" {
				v.AwaitReady(c.Key, 0) // all is acknowledged
			}
		})
	}
}

// A routing key may hold any 255 bytes.
func TestHostileKeysArePrintedOnOneLine(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	topic := harness.StartConsumer(t, v.URL, "receive_logs_topic", "#")
	longest := strings.Repeat("k", 255)
	direct := harness.StartConsumer(t, v.URL, "receive_logs_direct", longest, "", "the end")
	ch := harness.Channel(t, v.URL)
	want := []string{harness.WaitingForLogs}
	for _, h := range append(hostile, struct{ raw, printed string }{longest, longest}) {
		harness.Publish(t, ch, "topic_logs", h.raw, "body")
		want = append(want, " [x] "+h.printed+":body")
		harness.Publish(t, ch, "direct_logs", h.raw, "body")
	}
	harness.Publish(t, ch, "topic_logs", "the end", ".")
	harness.Publish(t, ch, "direct_logs", "the end", ".")

	topic.Await("the end")
	topic.Stop()
	wantStdout(t, topic, append(want, " [x] the end:.")...)
	direct.Await("the end")
	direct.Stop()
	wantStdout(t, direct, harness.WaitingForLogs, " [x] :body", " [x] "+longest+":body", " [x] the end:.")
}

// A publisher sends its arguments unchanged, and prints them escaped.
func TestHostileArgumentsAreSentUnchanged(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	bind := func(exchange, kind string) string {
		t.Helper()
		harness.DeclareExchange(t, ch, exchange, kind)
		q, err := ch.QueueDeclare("", false, false, true, false, nil)
		if err == nil {
			err = ch.QueueBind(q.Name, "#", exchange, false, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		return q.Name
	}
	logs, topics := bind("logs", "fanout"), bind("topic_logs", "topic")
	for _, h := range hostile {
		if strings.Contains(h.raw, "\x00") {
			continue // no argument can hold it
		}
		wantStdout(t, harness.Run(t, v.URL, 0, "new_task", "--", h.raw), " [x] Sent "+h.printed)
		if task := harness.Get(t, ch, "task_queue"); string(task.Body) != h.raw {
			t.Errorf("the task is %q, want %q", task.Body, h.raw)
		}
		wantStdout(t, harness.Run(t, v.URL, 0, "emit_log", "--", h.raw, h.raw), " [x] Sent "+h.printed+" "+h.printed)
		if log := harness.Get(t, ch, logs); string(log.Body) != h.raw+" "+h.raw {
			t.Errorf("the log is %q, want %q", log.Body, h.raw)
		}
		wantStdout(t, harness.Run(t, v.URL, 0, "emit_log_topic", "--", h.raw, h.raw), " [x] Sent "+h.printed+":"+h.printed)
		if log := harness.Get(t, ch, topics); log.RoutingKey != h.raw || string(log.Body) != h.raw {
			t.Errorf("the log is %q under %q, want %q", log.Body, log.RoutingKey, h.raw)
		}
	}

	// 1 MB, in arguments short enough for the system.
	words := make([]string, 16)
	for i := range words {
		words[i] = huge[:1<<16-1]
	}
	harness.Run(t, v.URL, 0, "new_task", words...)
	if task := harness.Get(t, ch, "task_queue"); string(task.Body) != strings.Join(words, " ") {
		t.Errorf("of 1 MB, %d bytes arrived", len(task.Body))
	}
}
