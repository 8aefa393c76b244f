package lessons_test

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// hostile are bodies and keys that a terminal, or a program, could stumble over,
// and how they are to be printed.
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
	{"%s%d%!n\\x1b", `%s%d%!n\x1b`},
	{"żółć 漢字 🐇", "żółć 漢字 🐇"},
}

var huge = strings.Repeat("0123456789abcdef", 1<<16) // 1 MB, without a dot

// Whatever the body is, it is printed on one line, whole, and the program goes on.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		exchange, key string
		prefix        string
		after         []string // what follows each message
	}{
		"receive":             {"", "hello", " [x] Received ", nil},
		"worker":              {"", "task_queue", " [x] Received ", []string{" [x] Done"}},
		"receive_logs":        {"logs", "", " [x] ", nil},
		"receive_logs_direct": {"direct_logs", "info", " [x] info:", nil},
		"receive_logs_topic":  {"topic_logs", "kern.info", " [x] kern.info:", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			args := consumers[name].args
			if name == "worker" {
				args = []string{"-unit=1ms"}
			}
			p := startConsumer(t, v.URL, name, args...)
			ch := channel(t, v.URL)
			want := []string{consumers[name].ready}
			say := func(raw, printed string) {
				publish(t, ch, test.exchange, test.key, text(raw))
				want = append(append(want, test.prefix+printed), test.after...)
			}
			for _, h := range hostile {
				say(h.raw, h.printed)
			}
			say(huge, huge)
			say("the end", "the end")
			p.Await("the end")
			p.Stop()
			wantStdout(t, p, want...)
			wantStderr(t, p)
			if test.exchange == "" && v.Queue(test.key).Ready != 0 {
				t.Error("a message was not acknowledged")
			}
		})
	}
}

// A routing key may hold any 255 bytes.
func TestHostileKeys(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	topic := startConsumer(t, v.URL, "receive_logs_topic", "#")
	longest := strings.Repeat("k", 255)
	direct := startConsumer(t, v.URL, "receive_logs_direct", longest, "", "the end")
	ch := channel(t, v.URL)
	want := []string{waitingForLogs}
	for _, h := range append(hostile, struct{ raw, printed string }{longest, longest}) {
		publish(t, ch, "topic_logs", h.raw, text("body"))
		want = append(want, " [x] "+h.printed+":body")
		publish(t, ch, "direct_logs", h.raw, text("body"))
	}
	publish(t, ch, "topic_logs", "the end", text("."))
	publish(t, ch, "direct_logs", "the end", text("."))

	topic.Await("the end")
	topic.Stop()
	wantStdout(t, topic, append(want, " [x] the end:.")...)
	direct.Await("the end")
	direct.Stop()
	wantStdout(t, direct, waitingForLogs, " [x] :body", " [x] "+longest+":body", " [x] the end:.")
}

// What else a message may carry is none of these programs' business.
func TestHostileProperties(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	receive := startConsumer(t, v.URL, "receive")
	ch := channel(t, v.URL)
	long := strings.Repeat("\x1b", 255)
	publish(t, ch, "", "hello", amqp.Publishing{
		Body:            []byte("body"),
		ContentType:     "image/png\x1b[2J",
		ContentEncoding: "gzip",
		Priority:        255,
		CorrelationId:   long, ReplyTo: long, MessageId: long, Type: "error", AppId: long,
		Headers: amqp.Table{"x-death": "not a list", "nested": amqp.Table{"a": []any{int64(1), nil, true, 1.5}}},
	})
	publish(t, ch, "", "hello", text("next"))
	receive.Await("next")
	receive.Stop()
	wantStdout(t, receive, waitingForMessages, " [x] Received body", " [x] Received next")
	wantStderr(t, receive)
}

// A publisher sends what it was given, byte by byte, and prints it escaped.
func TestHostileArguments(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := channel(t, v.URL)
	bind := func(exchange, kind string) string {
		t.Helper()
		if err := ch.ExchangeDeclare(exchange, kind, false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
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
		if task := get(t, ch, "task_queue"); string(task.Body) != h.raw {
			t.Errorf("the task is %q, want %q", task.Body, h.raw)
		}
		wantStdout(t, harness.Run(t, v.URL, 0, "emit_log", "--", h.raw, h.raw), " [x] Sent "+h.printed+" "+h.printed)
		if log := get(t, ch, logs); string(log.Body) != h.raw+" "+h.raw {
			t.Errorf("the log is %q, want %q", log.Body, h.raw)
		}
		wantStdout(t, harness.Run(t, v.URL, 0, "emit_log_topic", "--", h.raw, h.raw), " [x] Sent "+h.printed+":"+h.printed)
		if log := get(t, ch, topics); log.RoutingKey != h.raw || string(log.Body) != h.raw {
			t.Errorf("the log is %q under %q, want %q", log.Body, log.RoutingKey, h.raw)
		}
	}

	// 1 MB, in arguments that the system lets through.
	words := make([]string, 16)
	for i := range words {
		words[i] = huge[:1<<16-1]
	}
	harness.Run(t, v.URL, 0, "new_task", words...)
	if task := get(t, ch, "task_queue"); string(task.Body) != strings.Join(words, " ") {
		t.Errorf("of 1 MB, %d bytes arrived", len(task.Body))
	}
}
