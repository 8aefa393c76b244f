package lessons_test

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// everyProgram is each program with arguments that it can run with.
func everyProgram() map[string][]string {
	all := make(map[string][]string)
	for name, args := range publishers {
		all[name] = args
	}
	for name, consumer := range consumers {
		all[name] = consumer.args
	}
	all["rpc_client"] = []string{"-timeout=20s"} // longer than a connection may take
	return all
}

// wantFailure runs a program that cannot do its work. It must end within the five
// seconds that connecting may take, with status 1 and nothing but one line on
// stderr, which has these words.
func wantFailure(t *testing.T, url, name string, args []string, words ...string) string {
	t.Helper()
	began := time.Now()
	p := harness.Run(t, url, 1, name, args...)
	if took := time.Since(began); took > 7*time.Second {
		t.Errorf("%s needed %v to fail", name, took)
	}
	for _, line := range p.Stdout() {
		if !strings.HasPrefix(line, " [x] Requesting") {
			t.Errorf("%s printed %q to stdout", name, line)
		}
	}
	stderr := p.Stderr()
	if len(stderr) != 1 || !strings.HasPrefix(stderr[0], " [!] ") {
		t.Fatalf("%s: stderr is not one line:\n%s", name, p.Output())
	}
	for _, word := range words {
		if !strings.Contains(stderr[0], word) {
			t.Errorf("%s: %q\nhas not: %s", name, stderr[0], word)
		}
	}
	return stderr[0]
}

// A listener is a port where something else than RabbitMQ answers, or nothing.
type listener struct {
	t    *testing.T
	url  string
	conn chan *conn
}

type conn struct {
	net.Conn
	to *listener
}

// accepted tells await.
func (c *conn) accepted() {
	select {
	case c.to.conn <- c:
	default:
	}
}

// await waits until a program has connected.
func (l *listener) await() {
	l.t.Helper()
	select {
	case <-l.conn:
	case <-time.After(soon):
		l.t.Fatal("nobody connects")
	}
}

// listen listens on a free port, and calls serve for each connection.
func listen(t *testing.T, serve func(*conn)) *listener {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t, url: "amqp://guest:S3cret@" + socket.Addr().String() + "/", conn: make(chan *conn, 1)}
	var open []net.Conn
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			open = append(open, c)
			serve(&conn{c, l})
		}
	})
	t.Cleanup(func() {
		socket.Close()
		accepting.Wait()
		for _, c := range open {
			c.Close()
		}
	})
	return l
}

func TestBrokerNotThere(t *testing.T) {
	t.Parallel()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := socket.Addr().String()
	socket.Close() // nobody listens there now
	for name, args := range everyProgram() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := wantFailure(t, "amqp://guest:S3cret@"+address+"/", name, args,
				"connect to amqp://"+address+"/: ", "connection refused", "`make up` starts one", "AMQP_URL")
			if strings.Contains(line, "S3cret") {
				t.Errorf("the password is printed: %q", line)
			}
		})
	}
}

func TestPortThatIsNoBroker(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		serve func(*conn)
		words []string
	}{
		"accepts and never answers": {func(*conn) {}, []string{"no answer within 5s", "names a RabbitMQ that can be reached"}},
		"accepts and closes":        {func(c *conn) { c.Close() }, []string{"names a RabbitMQ that can be reached"}},
		"speaks HTTP": {func(c *conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")) },
			[]string{"names a RabbitMQ that can be reached"}},
		"speaks another AMQP": {func(c *conn) { c.Write([]byte("AMQP\x00\x01\x00\x00")) },
			[]string{"names a RabbitMQ that can be reached"}},
	} {
		for _, name := range []string{"send", "receive", "rpc_client"} {
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel()
				l := listen(t, test.serve)
				line := wantFailure(t, l.url, name, everyProgram()[name], append(test.words, "connect to amqp://127.0.0.1:")...)
				if strings.Contains(line, "S3cret") || strings.Contains(line, "password") {
					t.Errorf("this is no matter of the password: %q", line)
				}
			})
		}
	}
}

func TestUnknownHost(t *testing.T) {
	t.Parallel()
	wantFailure(t, "amqp://guest:S3cret@no-such-host.invalid/", "send", nil, "connect to amqp://no-such-host.invalid/: ")
}

// Whatever is wrong with the URL, no part of the password may be printed.
func TestNotAnAMQPURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"localhost",
		"localhost:5672",
		"guest:S3cret@localhost:5672",
		"http://guest:S3cret@localhost:15672/",
		"amqp:guest:S3cret@localhost",
		"amqp//guest:S3cret@localhost",
		"amqp://guest:S3cret@localhost:port/",
		"amqp://guest:S3cret@localhost/?heartbeat=S3cret",
		"amqp://guest:S3cret@localhost/ ",
		"amqp://guest:S3 cret@localhost/",
		"amqp://guest:S3/cret@localhost/",
		"amqp://guest:S3?cret@localhost/",
		"amqp://guest:S3#cret@localhost/",
		"amqp://guest:S3%cret@localhost/",
		"amqp://guest:S3@/cret@localhost/",
		"amqp://guest:S3@?cret@localhost/",
		"amqp://guest:12/cret@localhost/",
		"amqp://guest:S3\x1b[2Jcret@localhost/",
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			for _, name := range []string{"send", "receive"} {
				line := wantFailure(t, url, name, nil, "not an AMQP URL", "Set AMQP_URL, or -url, to something like amqp://user:password@localhost:5672/")
				if strings.Contains(line, "S3") || strings.Contains(line, "cret") {
					t.Errorf("a part of the password is printed: %q", line)
				}
			}
		})
	}
}

// In these URLs the password is wrong, or goes where no broker is, but it is a
// password: nothing of it may be printed.
func TestPasswordIsNotPrinted(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for i, password := range []string{
		"S3cret", "S3%2Fcret", "S3%3Fcret", "S3%23cret", "S3%40cret", "S3%25cret", "S3%0Acret", "S3@cret", "S3:cret", "S3&cret=", "S3%ffcret",
	} {
		t.Run(password, func(t *testing.T) {
			t.Parallel()
			rawURL := strings.Replace(v.URL, "guest:guest@", "guest:"+password+"@", 1)
			args := [][]string{nil, {"-url", rawURL}}[i%2]
			line := wantFailure(t, rawURL, "receive", args, "AMQP_URL or -url")
			if strings.Contains(line, "S3") || strings.Contains(line, "cret") {
				t.Errorf("a part of the password is printed: %q", line)
			}
		})
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	wrong := strings.Replace(v.URL, "guest:guest@", "guest:S3cret@", 1)
	for name, args := range everyProgram() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := wantFailure(t, wrong, name, args, "connect to amqp://", "Check the user name and the password")
			if strings.Contains(line, "S3cret") {
				t.Errorf("the password is printed: %q", line)
			}
		})
	}
}

func TestUnknownVhost(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	u, err := url.Parse(v.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/no-such-vhost"
	for name, args := range everyProgram() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, u.String(), name, args, "no-such-vhost", "Check the virtual host", "make ctl ARGS='add_vhost")
		})
	}
}

func TestVhostOfOthers(t *testing.T) {
	t.Parallel()
	mine, others := harness.NewVhost(t), harness.NewVhost(t)
	u, password := user(t, mine.AddUser(".*", ".*", ".*"))
	u.Path = "/" + others.Name
	for _, name := range []string{"send", "receive", "rpc_client"} {
		line := wantFailure(t, u.String(), name, everyProgram()[name], "refused for user '"+u.User.Username()+"'", "the user may use the virtual host")
		if strings.Contains(line, password) {
			t.Errorf("the password is printed: %q", line)
		}
	}
}

// user takes a URL apart.
func user(t *testing.T, rawURL string) (u *url.URL, password string) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	password, ok := u.User.Password()
	if !ok {
		t.Fatal("the user has no password")
	}
	return u, password
}

// An entity that is there with other arguments is left alone, and named.
func TestOtherArguments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		programs []string
		queue    string
		durable  bool
		args     amqp.Table
		differs  string
	}{
		{[]string{"send", "receive"}, "hello", true, nil, "'x-queue-type'"},
		{[]string{"send", "receive"}, "hello", true, amqp.Table{"x-queue-type": "quorum", "x-max-length": 10}, "'x-max-length'"},
		{[]string{"new_task", "worker"}, "task_queue", true, amqp.Table{"x-queue-type": "classic"}, "'x-queue-type'"},
		{[]string{"rpc_server", "rpc_client"}, "rpc_queue", true, amqp.Table{"x-queue-type": "quorum", "x-message-ttl": 1000}, "'x-message-ttl'"},
	} {
		t.Run(test.queue+" "+test.differs, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			if _, err := channel(t, v.URL).QueueDeclare(test.queue, test.durable, false, false, false, test.args); err != nil {
				t.Fatal(err)
			}
			for _, name := range test.programs {
				wantFailure(t, v.URL, name, everyProgram()[name], `declare queue "`+test.queue+`": PRECONDITION_FAILED`, test.differs,
					"make ctl ARGS='delete_queue -p "+v.Name+" "+test.queue+"'")
			}
			if !v.HasQueue(test.queue) {
				t.Error("the queue is gone")
			}
		})
	}
	for _, test := range []struct {
		programs       []string
		exchange, kind string
		durable        bool
		args           amqp.Table
		differs        string
	}{
		{[]string{"emit_log", "receive_logs"}, "logs", "direct", false, nil, "'type'"},
		{[]string{"emit_log_direct", "receive_logs_direct"}, "direct_logs", "direct", true, nil, "'durable'"},
		{[]string{"emit_log_topic", "receive_logs_topic"}, "topic_logs", "topic", false, amqp.Table{"alternate-exchange": "logs"}, "'alternate-exchange'"},
	} {
		t.Run(test.exchange+" "+test.differs, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			if err := channel(t, v.URL).ExchangeDeclare(test.exchange, test.kind, test.durable, false, false, false, test.args); err != nil {
				t.Fatal(err)
			}
			for _, name := range test.programs {
				wantFailure(t, v.URL, name, everyProgram()[name], `declare exchange "`+test.exchange+`": PRECONDITION_FAILED`, test.differs,
					"delete it in the console")
			}
		})
	}
}

// Somebody else holds the queue exclusively.
func TestResourceLocked(t *testing.T) {
	t.Parallel()
	for queue, names := range map[string][]string{
		"hello": {"send", "receive"}, "task_queue": {"new_task", "worker"}, "rpc_queue": {"rpc_server", "rpc_client"},
	} {
		t.Run(queue, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			if _, err := channel(t, v.URL).QueueDeclare(queue, true, false, true, false, nil); err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				wantFailure(t, v.URL, name, everyProgram()[name], `declare queue "`+queue+`": RESOURCE_LOCKED`,
					"Another connection uses the queue exclusively; stop that program first")
			}
		})
	}
}

func TestRefusedPermission(t *testing.T) {
	t.Parallel()
	const no = "^$"
	for _, test := range []struct {
		name                   string
		configure, write, read string
		words                  []string // beside what to do
	}{
		{"send", no, ".*", ".*", []string{`declare queue "hello"`, "queue 'hello'"}},
		{"send", ".*", no, ".*", []string{`publish to queue "hello"`, "exchange 'amq.default'"}},
		{"receive", no, ".*", ".*", []string{`declare queue "hello"`, "queue 'hello'"}},
		{"receive", ".*", ".*", no, []string{`consume from queue "hello"`, "queue 'hello'"}},
		{"new_task", ".*", no, ".*", []string{`publish to queue "task_queue"`, "exchange 'amq.default'"}},
		{"worker", ".*", ".*", no, []string{`consume from queue "task_queue"`, "queue 'task_queue'"}},
		{"emit_log", no, ".*", ".*", []string{`declare exchange "logs"`, "exchange 'logs'"}},
		{"emit_log", ".*", no, ".*", []string{`publish to exchange "logs"`, "exchange 'logs'"}},
		{"receive_logs", no, ".*", ".*", []string{`declare exchange "logs"`, "exchange 'logs'"}},
		{"receive_logs", "logs", ".*", ".*", []string{`declare queue ""`, "queue 'amq.gen"}},
		{"receive_logs", ".*", no, ".*", []string{`to exchange "logs"`, "queue 'amq.gen"}},
		{"receive_logs", ".*", ".*", "amq.gen.*", []string{`to exchange "logs"`, "exchange 'logs'"}},
		{"receive_logs", ".*", ".*", "logs", []string{`consume from queue "amq.gen`, "queue 'amq.gen"}},
		{"emit_log_direct", ".*", no, ".*", []string{`publish to exchange "direct_logs"`, "exchange 'direct_logs'"}},
		{"receive_logs_direct", ".*", ".*", "amq.gen.*", []string{`to exchange "direct_logs"`, "exchange 'direct_logs'"}},
		{"emit_log_topic", ".*", no, ".*", []string{`publish to exchange "topic_logs"`, "exchange 'topic_logs'"}},
		{"receive_logs_topic", ".*", ".*", "amq.gen.*", []string{`to exchange "topic_logs"`, "exchange 'topic_logs'"}},
		{"rpc_server", ".*", ".*", no, []string{`consume from queue "rpc_queue"`, "queue 'rpc_queue'"}},
		{"rpc_client", no, ".*", ".*", []string{`declare queue "rpc_queue"`, "queue 'rpc_queue'"}},
		{"rpc_client", ".*", no, ".*", []string{"exchange 'amq.default'"}},
	} {
		t.Run(strings.Join([]string{test.name, test.configure, test.write, test.read}, " "), func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			u, password := user(t, v.AddUser(test.configure, test.write, test.read))
			line := wantFailure(t, u.String(), test.name, everyProgram()[test.name],
				append(slices.Clone(test.words), "ACCESS_REFUSED", "refused for user '"+u.User.Username()+"'", "make ctl ARGS='set_permissions -p "+v.Name)...)
			if strings.Contains(line, password) || strings.Contains(line, "unknown") {
				t.Errorf("the line has what it should not: %q", line)
			}
		})
	}
}

// What publisher_confirms counts must be its own messages, and others' are not deleted.
func TestOthersMessagesAreNotCounted(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := channel(t, v.URL)
	declareQueue(t, ch, "publisher_confirms")
	publish(t, ch, "", "publisher_confirms", text("another run's"))
	wantFailure(t, v.URL, "publisher_confirms", nil, "1 messages", "delete_queue publisher_confirms")
	if n := v.Queue("publisher_confirms").Ready; n != 1 {
		t.Errorf("the queue has %d messages", n)
	}
	v.DeleteQueue("publisher_confirms")
	p := harness.Run(t, v.URL, 0, "publisher_confirms", "-n=10")
	if v.HasQueue("publisher_confirms") || len(p.Stdout()) != 3 {
		t.Errorf("the queue is left, or:\n%s", p.Output())
	}
}
