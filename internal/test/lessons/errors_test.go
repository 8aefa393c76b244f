package lessons_test

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// everyProgram returns each program with arguments that it can run with.
func everyProgram() map[string][]string {
	all := map[string][]string{
		"rpc_client":         {"-timeout=20s"}, // longer than a connection may take
		"publisher_confirms": {"-n=1"},
	}
	for _, name := range harness.Publishers() {
		all[name] = nil
	}
	for _, c := range harness.Consumers() {
		all[c.Program] = c.Args
	}
	return all
}

// wantFailure runs a program that cannot do its work. The program must end within the five
// seconds that connecting may take, with status 1 and only one line on stderr, which has
// these words.
func wantFailure(t *testing.T, url, name string, words ...string) string {
	t.Helper()
	began := time.Now()
	p := harness.Start(t, url, name, everyProgram()[name]...)
	line := harness.WantFailure(t, p)
	if took := time.Since(began); took > 7*time.Second {
		t.Errorf("%s needed %v to fail", name, took)
	}
	for _, line := range p.Stdout() {
		if !strings.HasPrefix(line, " [x] Requesting") {
			t.Errorf("%s printed %q to stdout", name, line)
		}
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			t.Errorf("%s: %q\nlacks: %s", name, line, word)
		}
	}
	return line
}

func TestEveryProgramSaysThatNobodyListens(t *testing.T) {
	t.Parallel()
	const address = "127.0.0.1:1"
	for name := range everyProgram() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := wantFailure(t, "amqp://guest:S3cret@"+address+"/", name,
				"connect to amqp://"+address+"/: ", "connection refused", "`make up` starts one", "AMQP_URL")
			if strings.Contains(line, "S3cret") {
				t.Errorf("the password is printed: %q", line)
			}
		})
	}
}

// Something other than RabbitMQ answers. (If nothing answers: TestNobodyAnswers of package faults.)
func TestPortOfAnotherServerIsToldAsSuch(t *testing.T) {
	t.Parallel()
	for what, said := range map[string]string{
		"closes":              "",
		"speaks HTTP":         "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
		"speaks another AMQP": "AMQP\x00\x01\x00\x00",
	} {
		for _, name := range []string{"send", "receive", "rpc_client"} {
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel()
				socket, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				var server sync.WaitGroup
				server.Go(func() {
					conn, err := socket.Accept()
					if err != nil {
						return
					}
					io.ReadFull(conn, make([]byte, len("AMQP0091")))
					io.WriteString(conn, said)
					conn.Close()
				})
				defer server.Wait()
				defer socket.Close()
				line := wantFailure(t, "amqp://guest:S3cret@"+socket.Addr().String()+"/", name,
					"connect to amqp://127.0.0.1:", "names a RabbitMQ that can be reached")
				if strings.Contains(line, "S3cret") || strings.Contains(line, "password") {
					t.Errorf("the line speaks of the password, which is not the cause: %q", line)
				}
			})
		}
	}
}

func TestUnknownHostIsNamed(t *testing.T) {
	t.Parallel()
	wantFailure(t, "amqp://guest:S3cret@no-such-host.invalid/", "send", "connect to amqp://no-such-host.invalid/: ")
}

// Whatever characters the password has, no part of it may be printed.
func TestWrongPasswordIsToldAndNotPrinted(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	passwords := []string{
		"S3cret", "S3%2Fcret", "S3%3Fcret", "S3%23cret", "S3%40cret", "S3%25cret",
		"S3%0Acret", "S3@cret", "S3:cret", "S3&cret=", "S3%ffcret", "%53%33cret",
	}
	i := 0
	for name := range everyProgram() {
		password := passwords[i%len(passwords)]
		i++
		t.Run(name+" "+password, func(t *testing.T) {
			t.Parallel()
			wrong := strings.Replace(v.URL, "guest:guest@", "guest:"+password+"@", 1)
			line := wantFailure(t, wrong, name, "connect to amqp://", "Check the user name and the password in AMQP_URL or -url")
			if strings.Contains(line, "S3") || strings.Contains(line, "cret") {
				t.Errorf("a part of the password is printed: %q", line)
			}
		})
	}
}

// Sixteen programs, so that some begin with either broker.
func TestBadBrokerAmongGoodOnesIsToldOnce(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	wrong := strings.Replace(v.URL, "guest:guest@", "guest:S3cret@", 1)
	// RabbitMQ may refuse a message to a queue that sixteen programs are just now declaring.
	harness.DeclareQueue(t, harness.Channel(t, v.URL), "hello")
	var running []*harness.Process
	for range 16 {
		running = append(running, harness.Start(t, wrong+","+v.URL, "send"))
	}
	told := 0
	for _, p := range running {
		p.Exits(0)
		for _, line := range p.Stderr() {
			told++
			if !strings.Contains(line, "username or password not allowed") || !strings.HasSuffix(line, "; trying another broker") ||
				strings.Contains(line, "S3cret") {
				t.Errorf("send printed %q", line)
			}
		}
	}
	if told == 0 || told == 16 {
		t.Errorf("%d of 16 programs began with the bad broker", told)
	}
	if n := v.Queue("hello").Ready; n != 16 {
		t.Errorf("16 messages were sent, and %d are in the queue", n)
	}
}

func TestUnknownVhostIsNamed(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	url := strings.Replace(v.URL, v.Name, "no-such-vhost", 1)
	for name := range everyProgram() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, url, name, "no-such-vhost", "Check the virtual host", "make ctl ARGS='add_vhost")
		})
	}
}

func TestVhostOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	mine, others := harness.NewVhost(t), harness.NewVhost(t)
	url, user, password := mine.AddUser(".*", ".*", ".*")
	url = strings.Replace(url, mine.Name, others.Name, 1)
	for _, name := range []string{"send", "receive", "rpc_client"} {
		line := wantFailure(t, url, name, "refused for user '"+user+"'", "the user may use the virtual host")
		if strings.Contains(line, password) {
			t.Errorf("the password is printed: %q", line)
		}
	}
}

// The programs name an entity that exists with different arguments, and leave it alone.
func TestOtherArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	queue := func(name string, args amqp.Table) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(name, true, false, false, false, args)
			return err
		}
	}
	exchange := func(name, kind string, durable bool, args amqp.Table) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare(name, kind, durable, false, false, false, args)
		}
	}
	for _, test := range []struct {
		programs          []string
		kind, name        string
		declare           func(*amqp.Channel) error
		differs, whatToDo string
	}{
		{[]string{"send", "receive"}, "queue", "hello", queue("hello", nil), "'x-queue-type'", "make ctl ARGS='delete_queue -p VHOST hello'"},
		{[]string{"send", "receive"}, "queue", "hello", queue("hello", amqp.Table{"x-queue-type": "quorum", "x-max-length": 10}), "'x-max-length'", "make ctl ARGS='delete_queue -p VHOST hello'"},
		{[]string{"new_task", "worker"}, "queue", "task_queue", queue("task_queue", amqp.Table{"x-queue-type": "classic"}), "'x-queue-type'", "make ctl ARGS='delete_queue -p VHOST task_queue'"},
		{[]string{"rpc_server", "rpc_client"}, "queue", "rpc_queue", queue("rpc_queue", amqp.Table{"x-queue-type": "quorum", "x-message-ttl": 1000}), "'x-message-ttl'", "make ctl ARGS='delete_queue -p VHOST rpc_queue'"},
		{[]string{"pipeline_submit", "pipeline_stage"}, "queue", "pipeline_numbers", queue("pipeline_numbers", nil), "'x-queue-type'", "make ctl ARGS='delete_queue -p VHOST pipeline_numbers'"},
		{[]string{"pipeline_stage", "pipeline_collect"}, "queue", "pipeline_results", queue("pipeline_results", nil), "'x-queue-type'", "make ctl ARGS='delete_queue -p VHOST pipeline_results'"},
		{[]string{"retry_task", "retry_worker"}, "queue", "retry_tasks", queue("retry_tasks", nil), "'x-queue-type'", "make ctl ARGS='delete_queue -p VHOST retry_tasks'"},
		{[]string{"retry_worker"}, "queue", "retry_wait_1", queue("retry_wait_1", amqp.Table{"x-queue-type": "quorum"}), "'x-dead-letter-exchange'", "make ctl ARGS='delete_queue -p VHOST retry_wait_1'"},
		{[]string{"emit_log", "receive_logs"}, "exchange", "logs", exchange("logs", "direct", false, nil), "'type'", "delete it in the console"},
		{[]string{"emit_log_direct", "receive_logs_direct"}, "exchange", "direct_logs", exchange("direct_logs", "direct", true, nil), "'durable'", "delete it in the console"},
		{[]string{"emit_log_topic", "receive_logs_topic"}, "exchange", "topic_logs", exchange("topic_logs", "topic", false, amqp.Table{"alternate-exchange": "logs"}), "'alternate-exchange'", "delete it in the console"},
	} {
		t.Run(test.name+" "+test.differs, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			if err := test.declare(harness.Channel(t, v.URL)); err != nil {
				t.Fatal(err)
			}
			for _, name := range test.programs {
				wantFailure(t, v.URL, name, "declare "+test.kind+` "`+test.name+`": PRECONDITION_FAILED`, test.differs,
					strings.Replace(test.whatToDo, "VHOST", v.Name, 1))
			}
			if !slices.Contains(append(v.Queues(), v.Exchanges()...), test.name) {
				t.Errorf("the %s is gone", test.kind)
			}
		})
	}
}

// Another connection has declared the queue exclusive.
func TestQueueInExclusiveUseIsNamed(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	if _, err := harness.Channel(t, v.URL).QueueDeclare("hello", true, false, true, false, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"send", "receive"} {
		wantFailure(t, v.URL, name, `declare queue "hello": RESOURCE_LOCKED`,
			"Another connection uses the queue exclusively; stop that program first")
	}
}

func TestMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	const no = "^$"
	for _, test := range []struct {
		name                   string
		configure, write, read string
		words                  []string // in addition to what to do
	}{
		{"send", no, ".*", ".*", []string{`declare queue "hello"`, "queue 'hello'"}},
		{"send", ".*", no, ".*", []string{`publish to queue "hello"`, "exchange 'amq.default'"}},
		{"receive", no, ".*", ".*", []string{`declare queue "hello"`, "queue 'hello'"}},
		{"receive", ".*", ".*", no, []string{`consume from queue "hello"`, "queue 'hello'"}},
		{"emit_log", no, ".*", ".*", []string{`declare exchange "logs"`, "exchange 'logs'"}},
		{"emit_log", ".*", no, ".*", []string{`publish to exchange "logs"`, "exchange 'logs'"}},
		{"receive_logs", no, ".*", ".*", []string{`declare exchange "logs"`, "exchange 'logs'"}},
		{"receive_logs", "logs", ".*", ".*", []string{`declare queue ""`, "queue 'amq.gen"}},
		{"receive_logs", ".*", no, ".*", []string{`to exchange "logs"`, "queue 'amq.gen"}},
		{"receive_logs", ".*", ".*", "amq.gen.*", []string{`to exchange "logs"`, "exchange 'logs'"}},
		{"receive_logs", ".*", ".*", "logs", []string{`consume from queue "amq.gen`, "queue 'amq.gen"}},
		{"rpc_server", ".*", ".*", no, []string{`consume from queue "rpc_queue"`, "queue 'rpc_queue'"}},
		{"rpc_client", no, ".*", ".*", []string{`declare queue "rpc_queue"`, "queue 'rpc_queue'"}},
		{"rpc_client", ".*", no, ".*", []string{"exchange 'amq.default'"}},
		{"pipeline_stage", "pipeline_numbers", ".*", ".*", []string{`declare queue "pipeline_results"`, "queue 'pipeline_results'"}},
		{"pipeline_stage", ".*", ".*", no, []string{`consume from queue "pipeline_numbers"`, "queue 'pipeline_numbers'"}},
		{"retry_worker", ".*", no, ".*", []string{`declare queue "retry_wait_1"`, "exchange 'amq.default'"}}, // it leads there
		{"retry_worker", ".*", ".*", no, []string{`declare queue "retry_wait_1"`, "queue 'retry_wait_1'"}},
	} {
		t.Run(strings.Join([]string{test.name, test.configure, test.write, test.read}, " "), func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			url, user, password := v.AddUser(test.configure, test.write, test.read)
			line := wantFailure(t, url, test.name, append(test.words,
				"ACCESS_REFUSED", "refused for user '"+user+"'", "make ctl ARGS='set_permissions -p "+v.Name)...)
			if strings.Contains(line, password) || strings.Contains(line, "unknown") {
				t.Errorf("the line has the password, or says that something is unknown: %q", line)
			}
		})
	}
}

// publisher_confirms must count only its own messages, and must not delete others'.
func TestOthersMessagesAreNotCounted(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "publisher_confirms")
	harness.Publish(t, ch, "", "publisher_confirms", "another run's")
	wantFailure(t, v.URL, "publisher_confirms", "1 messages", "delete_queue publisher_confirms")
	if n := v.Queue("publisher_confirms").Ready; n != 1 {
		t.Errorf("the queue has %d messages", n)
	}
	v.DeleteQueue("publisher_confirms")
	p := harness.Run(t, v.URL, 0, "publisher_confirms", "-n=10")
	if v.HasQueue("publisher_confirms") || len(p.Stdout()) != 3 {
		t.Errorf("the queue is left, or:\n%s", p.Output())
	}
}
