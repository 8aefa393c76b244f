//go:build interop

// Package interop lets the programs of lessons 1 to 6, 8 and 9 talk to programs in other
// languages, which declare the same queues and exchanges themselves. If two of them
// declare one differently, the broker refuses it; if they name one differently, the
// message arrives nowhere.
//
// Set the build tag only if Python with pika and Node with amqplib are installed.
// scripts/interop.sh checks that, and installs them.
package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// A language has a program for each role: send, receive, new_task, ...
type language struct {
	name    string
	command []string // what comes before the role; nil for the programs of this repository
}

func (l language) start(t *testing.T, url, role string, args ...string) *harness.Process {
	t.Helper()
	if l.command == nil {
		return harness.Start(t, url, role, args...)
	}
	args = slices.Concat(l.command[1:], []string{role}, args)
	cmd := exec.Command(l.command[0], args...)
	cmd.Env = append(os.Environ(), "AMQP_URL="+url)
	return harness.StartCmd(t, cmd)
}

// run runs a program to its end.
func (l language) run(t *testing.T, url, role string, args ...string) *harness.Process {
	t.Helper()
	p := l.start(t, url, role, args...)
	p.Exits(0)
	return p
}

// consume starts a program and waits until it takes messages.
func (l language) consume(t *testing.T, url, role string, args ...string) *harness.Process {
	t.Helper()
	p := l.start(t, url, role, args...)
	p.Await("ing ") // Waiting for messages, Waiting for logs, Awaiting RPC requests
	return p
}

// printed compares all that a program has printed.
func printed(t *testing.T, p *harness.Process, want ...string) {
	t.Helper()
	if got := p.Stdout(); !slices.Equal(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
	if notes := p.Stderr(); len(notes) > 0 {
		t.Errorf("complained %q", notes)
	}
}

func TestEveryLanguageTalksToEveryOther(t *testing.T) {
	golang := language{name: "go"}
	peers := peers(t)

	lessons := []struct {
		name string
		test func(t *testing.T, url string, from, to language, fromFirst bool)
	}{
		{"lesson1", hello},
		{"lesson2", workQueue},
		{"lesson3", publishSubscribe},
		{"lesson4", routing},
		{"lesson5", topics},
		{"lesson6", rpc},
	}
	for _, lesson := range lessons {
		for _, peer := range peers {
			for _, pair := range [][2]language{{golang, peer}, {peer, golang}} {
				from, to := pair[0], pair[1]
				for _, first := range pair {
					t.Run(lesson.name+"/"+from.name+"-to-"+to.name+"/"+first.name+"-declares-first", func(t *testing.T) {
						t.Parallel()
						lesson.test(t, harness.NewVhost(t).URL, from, to, first.name == from.name)
					})
				}
			}
		}
	}

	for _, peer := range peers {
		for _, pair := range [][2]language{{golang, peer}, {peer, golang}} {
			t.Run("lesson2/"+pair[1].name+"-takes-over-from-"+pair[0].name, func(t *testing.T) {
				t.Parallel()
				takeOver(t, harness.NewVhost(t).URL, pair[0], pair[1])
			})
		}
		t.Run("lesson6/"+peer.name+"-to-go/refused", func(t *testing.T) {
			t.Parallel()
			refused(t, harness.NewVhost(t).URL, peer, golang)
		})
		for _, first := range []language{golang, peer} {
			t.Run("lesson9/"+peer.name+"-sends-and-reads/"+first.name+"-declares-first", func(t *testing.T) {
				t.Parallel()
				retry(t, harness.NewVhost(t).URL, peer, first.name == peer.name)
			})
		}
	}
	for _, peer := range peers {
		for places := 1; places < 7; places++ { // a bit for each place of the pipeline: is it the peer's?
			var at [3]language
			for i := range at {
				at[i] = [2]language{golang, peer}[places>>i&1]
			}
			t.Run("lesson8/"+at[0].name+"-"+at[1].name+"-"+at[2].name, func(t *testing.T) {
				t.Parallel()
				pipeline(t, harness.NewVhost(t).URL, at[0], at[1], at[2])
			})
		}
	}
	t.Run("lesson6/servers-of-all-languages", func(t *testing.T) {
		t.Parallel()
		sharedRequests(t, harness.NewVhost(t).URL, append(peers, golang))
	})
}

// peers are the languages other than Go.
func peers(t *testing.T) []language {
	python, err := exec.Command(filepath.Join("..", "..", "..", "scripts", "interop.sh"), "python").Output()
	if err != nil {
		t.Fatalf("find a python3 with pika: %v", err)
	}
	return []language{
		{"python", []string{strings.TrimSpace(string(python)), "-u", "-X", "utf8", filepath.Join("peers", "peer.py")}},
		{"javascript", []string{"node", filepath.Join("peers", "peer.js")}},
	}
}

// The three lines of Python in README.md, which send to a broker on localhost:5672.
func TestThreeLinesOfPythonSendToReceive(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?s)\npython3 -c '(.*?)'\n`).FindSubmatch(readme)
	if found == nil {
		t.Fatal("README.md has no python3 -c")
	}
	code := strings.Replace(string(found[1]), "Connection()", `Connection(pika.URLParameters("`+v.URL+`"))`, 1)
	receive := harness.StartConsumer(t, v.URL, "receive")
	harness.StartCmd(t, exec.Command(peers(t)[0].command[0], "-c", code)).Exits(0)
	receive.Await(" [x] Received Hello from Python!")
}

func hello(t *testing.T, url string, from, to language, fromFirst bool) {
	var receiver *harness.Process
	if !fromFirst {
		receiver = to.consume(t, url, "receive")
	}
	printed(t, from.run(t, url, "send"), " [x] Sent Hello World!")
	if fromFirst {
		receiver = to.consume(t, url, "receive")
	}
	receiver.Await("Received")
	printed(t, receiver, harness.WaitingForMessages, " [x] Received Hello World!")
}

func workQueue(t *testing.T, url string, from, to language, fromFirst bool) {
	unit := []string{"-unit", "0.01s"}
	var worker *harness.Process
	if !fromFirst {
		worker = to.consume(t, url, "worker", unit...)
	}
	printed(t, from.run(t, url, "new_task"), " [x] Sent Hello World!")
	printed(t, from.run(t, url, "new_task", "Eine", "schöne", "仕事..."), " [x] Sent Eine schöne 仕事...")
	if fromFirst {
		worker = to.consume(t, url, "worker", unit...)
	}
	worker.Await("Done")
	worker.Await("Done")
	printed(t, worker, harness.WaitingForMessages,
		" [x] Received Hello World!", " [x] Done",
		" [x] Received Eine schöne 仕事...", " [x] Done")
}

// takeOver runs workers of two languages at one queue. The first is stuck in a task,
// so the second gets all the others, and also that one when the first dies.
func takeOver(t *testing.T, url string, first, second language) {
	stuck := first.consume(t, url, "worker", "-unit", "3600s")
	second.run(t, url, "new_task", "long.")
	stuck.Await("Received long.")

	worker := second.consume(t, url, "worker", "-unit", "0.01s")
	for _, task := range []string{"one.", "two."} {
		first.run(t, url, "new_task", task)
		worker.Await("Received " + task)
		worker.Await("Done")
	}
	stuck.Kill()
	worker.Await("Received long.")
	worker.Await("Done")
	printed(t, stuck, harness.WaitingForMessages, " [x] Received long.")
}

func publishSubscribe(t *testing.T, url string, from, to language, fromFirst bool) {
	if fromFirst {
		from.run(t, url, "emit_log", "Nobody", "hears", "this")
	}
	receiver := to.consume(t, url, "receive_logs")
	printed(t, from.run(t, url, "emit_log"), " [x] Sent Hello World!")
	receiver.Await("Hello World!")
	printed(t, from.run(t, url, "emit_log", "Zwölf", "Boxkämpfer"), " [x] Sent Zwölf Boxkämpfer")
	receiver.Await("Zwölf")
	printed(t, receiver, harness.WaitingForLogs, " [x] Hello World!", " [x] Zwölf Boxkämpfer")
}

func routing(t *testing.T, url string, from, to language, fromFirst bool) {
	if fromFirst {
		from.run(t, url, "emit_log_direct", "error", "Nobody", "hears", "this")
	}
	receiver := to.consume(t, url, "receive_logs_direct", "warning", "error")
	from.run(t, url, "emit_log_direct") // as info, which has no binding
	printed(t, from.run(t, url, "emit_log_direct", "warning", "Fast", "übervoll"), " [x] Sent warning:Fast übervoll")
	receiver.Await("übervoll")
	printed(t, from.run(t, url, "emit_log_direct", "error"), " [x] Sent error:Hello World!")
	receiver.Await("error:")
	printed(t, receiver, harness.WaitingForLogs, " [x] warning:Fast übervoll", " [x] error:Hello World!")
}

func topics(t *testing.T, url string, from, to language, fromFirst bool) {
	if fromFirst {
		from.run(t, url, "emit_log_topic", "kern.info", "Nobody", "hears", "this")
	}
	receiver := to.consume(t, url, "receive_logs_topic", "kern.*", "#.critical")
	from.run(t, url, "emit_log_topic") // as anonymous.info, which no binding matches
	for _, topic := range []string{"kern.critical", "lab.disk.critical", "critical", "kern.info"} {
		printed(t, from.run(t, url, "emit_log_topic", topic, "größer"), " [x] Sent "+topic+":größer")
		receiver.Await(topic)
	}
	printed(t, receiver, harness.WaitingForLogs, " [x] kern.critical:größer", " [x] lab.disk.critical:größer",
		" [x] critical:größer", " [x] kern.info:größer")
}

// rpc makes several calls at once. The tutorials' clients do not declare the queue of
// requests; if the client's language must declare first, its server does.
func rpc(t *testing.T, url string, from, to language, fromFirst bool) {
	if fromFirst {
		from.consume(t, url, "rpc_server").Kill()
	}
	server := to.consume(t, url, "rpc_server")
	client := from.run(t, url, "rpc_client", "0", "1", "30", "100", "7")
	inAnyOrder(t, client,
		" [x] Requesting fib(0)", " [x] Requesting fib(1)", " [x] Requesting fib(30)",
		" [x] Requesting fib(100)", " [x] Requesting fib(7)",
		" [.] Got 0", " [.] Got 1", " [.] Got 832040", " [.] Got 354224848179261915075", " [.] Got 13")
	server.Kill()
	inAnyOrder(t, server, harness.AwaitingRequests,
		" [.] fib(0)", " [.] fib(1)", " [.] fib(30)", " [.] fib(100)", " [.] fib(7)")
}

// retry sends tasks from another language to retry_worker, and lets that language read what is parked.
func retry(t *testing.T, url string, peer language, peerFirst bool) {
	if peerFirst {
		peer.consume(t, url, "read_parked").Kill()
	} else {
		harness.StartConsumer(t, url, "retry_worker").Stop()
	}
	printed(t, peer.run(t, url, "retry_task", "größer!"), " [x] Sent größer!")
	printed(t, peer.run(t, url, "retry_task", "hoffnungslos", "仕事!!!"), " [x] Sent hoffnungslos 仕事!!!")
	worker := harness.StartConsumer(t, url, "retry_worker", "-retries=1", "-pause=1ms")
	worker.Await(" [x] Done")
	reader := peer.consume(t, url, "read_parked")
	reader.Await("Parked")
	printed(t, reader, harness.WaitingForMessages,
		" [x] Parked hoffnungslos 仕事!!! after 2 attempts: exclamation mark 2 of 3")
}

// inAnyOrder compares what a process has printed, in any order, because calls that are made at
// once have none.
func inAnyOrder(t *testing.T, p *harness.Process, want ...string) {
	t.Helper()
	got := slices.Sorted(slices.Values(p.Stdout()))
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
}

// refused sends requests that the server does not compute. A client that does not know
// about refusals must get an answer to each, and the server must go on.
func refused(t *testing.T, url string, from, to language) {
	server := to.consume(t, url, "rpc_server")
	client := from.run(t, url, "rpc_client", "ten", "-1", "1000000", "10")
	printed(t, client,
		" [x] Requesting fib(ten)", " [x] Requesting fib(-1)", " [x] Requesting fib(1000000)", " [x] Requesting fib(10)",
		` [.] Got "ten" is not a whole number that fits here`,
		" [.] Got n is -1; it must not be negative",
		" [.] Got n is too large; the largest here is 10000",
		" [.] Got 55")
	server.Await("fib(10)")
	if got, want := server.Stdout(), []string{harness.AwaitingRequests, " [.] fib(10)"}; !slices.Equal(got, want) {
		t.Errorf("the server printed %q, want %q", got, want)
	}
}

// pipeline has a language at each place. Numbers wait for their stage, one is refused, and one is
// published twice.
func pipeline(t *testing.T, url string, submitter, worker, collector language) {
	collect := collector.consume(t, url, "pipeline_collect")
	submit := submitter.run(t, url, "pipeline_submit", "0", "30", "100", "10001")
	printed(t, submit, " [x] Submitted 0", " [x] Submitted 30", " [x] Submitted 100", " [x] Submitted 10001")
	stage := worker.consume(t, url, "pipeline_stage")
	collect.Await(" [x] fib(0) = 0")
	collect.Await(" [x] fib(30) = 832040")
	collect.Await(" [x] fib(100) = 354224848179261915075")
	collect.Await(` [!] no result for "10001": `)

	number := amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: "the same", Body: []byte("7")}
	harness.PublishMessages(t, harness.Channel(t, url), "", "pipeline_numbers", number, number)
	collect.Await(" [x] fib(7) = 13")
	collect.Await(" again, ignored")
	stage.Kill()
	if got, want := stage.Stdout(), []string{harness.WaitingForMessages, " [.] fib(0)", " [.] fib(30)",
		" [.] fib(100)", " [.] fib(7)", " [.] fib(7)"}; !slices.Equal(got, want) {
		t.Errorf("the stage printed %q, want %q", got, want)
	}
}

// sharedRequests runs a server of each language at one queue, so that answers overtake
// each other, and a client of each language.
func sharedRequests(t *testing.T, url string, languages []language) {
	for _, l := range languages {
		l.consume(t, url, "rpc_server")
	}
	numbers := strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 40 60 80 100")
	var want []string
	for _, n := range numbers {
		want = append(want, " [x] Requesting fib("+n+")")
	}
	for _, f := range strings.Fields(`1 1 2 3 5 8 13 21 34 55 89 144 233 377 610 987 1597 2584 4181 6765
		102334155 1548008755920 23416728348467685 354224848179261915075`) {
		want = append(want, " [.] Got "+f)
	}
	var clients []*harness.Process
	for _, l := range languages {
		clients = append(clients, l.start(t, url, "rpc_client", numbers...))
	}
	for i, client := range clients {
		client.Exits(0)
		got, want := client.Stdout(), slices.Clone(want)
		if languages[i].name == "go" { // it prints the answers as they arrive
			slices.Sort(got)
			slices.Sort(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s rpc_client printed %q, want %q", languages[i].name, got, want)
		}
	}
}
