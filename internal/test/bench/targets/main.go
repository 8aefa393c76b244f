// Targets reads benchmark results in the standard format. It prints, as Markdown, the project's
// targets beside what was measured, and all the figures. It writes the same between two markers of
// internal/test/bench/README.md, draws the plots beside it, and writes five figures into README.md.
//
//	.bin/targets <.bin/bench.txt
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	log.SetFlags(0)
	r, err := parse(os.Stdin)
	if err == nil {
		err = r.write(".", os.Stdout)
	}
	if err != nil {
		log.Fatal("targets: ", err)
	}
}

// write prints the figures to out and renews the pages and the plots of a repository.
func (r *results) write(root string, out io.Writer) error {
	var text strings.Builder
	if err := r.print(&text); err != nil {
		return err
	}
	five, err := r.five()
	if err != nil {
		return err
	}
	fmt.Fprint(out, text.String())
	dir := filepath.Join(root, "internal/test/bench")
	for file, figures := range map[string]string{filepath.Join(dir, "README.md"): text.String(), filepath.Join(root, "README.md"): five} {
		page, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if page, err = renew(page, figures); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(file, page, 0o644); err != nil {
			return err
		}
	}
	for _, p := range plots {
		if svg := r.draw(p); svg != "" {
			if err := os.WriteFile(filepath.Join(dir, p.file), []byte(svg), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// renew puts the figures between the page's markers.
func renew(page []byte, figures string) ([]byte, error) {
	before, rest, began := bytes.Cut(page, []byte(begin))
	_, after, ended := bytes.Cut(rest, []byte(end))
	if !began || !ended {
		return nil, fmt.Errorf("there is no place for the figures, between %q and %q", begin, end)
	}
	return slices.Concat(before, []byte(begin+figures+end), after), nil
}

const begin, end = "<!-- written by make bench -->\n", "<!-- end -->\n"

// results are what benchmarks measured: for each "NAME UNIT", a figure of each round.
type results struct {
	config map[string]string // the lines "key: value"
	series map[string][]float64
	names  []string // of series, in the order of the input
}

// added is what go test appends to a benchmark's name: its number, if it is not the first of that
// name, and that of the processors.
var added = regexp.MustCompile(`(#\d+)?(-\d+)?$`)

// parse reads the format of https://go.dev/design/14313-benchmark-format.
func parse(in io.Reader) (*results, error) {
	r := &results{config: make(map[string]string), series: make(map[string][]float64)}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ": "); ok && !strings.ContainsAny(key, " \t") {
			r.config[key] = strings.TrimSpace(value)
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := added.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			key := name + " " + fields[i+1]
			if r.series[key] == nil {
				r.names = append(r.names, key)
			}
			r.series[key] = append(r.series[key], value)
		}
	}
	return r, lines.Err()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio returns the median, over the rounds, of a's figure divided by b's in the same round. Without
// b, it returns the median of a's figures.
func (r *results) ratio(a, b string) (float64, error) {
	as, bs := r.series[a], r.series[b]
	if b == "" {
		bs = slices.Repeat([]float64{1}, len(as))
	}
	if len(as) == 0 || len(as) != len(bs) {
		return 0, fmt.Errorf("%d figures for %q, %d for %q", len(as), a, len(bs), b)
	}
	ratios := make([]float64, len(as))
	for i := range as {
		ratios[i] = as[i] / bs[i]
	}
	return median(ratios), nil
}

// A target is a bound for some ratios: for the mean of them, or for each.
type target struct {
	what    string
	atLeast bool
	bound   float64
	each    bool
	pairs   [][2]string // of series; the second one may be ""
	// It needs a client in another language, or Linux.
	optional bool
}

// The cases of BenchmarkPublish and BenchmarkConsume. With a window or a prefetch of 1, a client waits for the
// broker; with large messages, for its disk.
var (
	manyOnTheirWay = []string{
		"Publish/window=100/bytes=10", "Publish/window=100/bytes=1000",
		"Publish/window=1000/bytes=10", "Publish/window=1000/bytes=1000",
		"Consume/prefetch=30/ack=each", "Consume/prefetch=1000/ack=each", "Consume/prefetch=1000/ack=automatic",
	}
	waiting = []string{
		"Publish/window=1/bytes=10", "Publish/window=1/bytes=1000", "Publish/window=1/bytes=100000",
		"Publish/window=100/bytes=100000", "Publish/window=1000/bytes=100000", "Consume/prefetch=1/ack=each",
	}
	calls = []string{
		"RPC/servers=1/prefetch=1/in_flight=1", "RPC/servers=1/prefetch=1/in_flight=10", "RPC/servers=1/prefetch=1/in_flight=100",
		"RPC/servers=1/prefetch=100/in_flight=1", "RPC/servers=1/prefetch=100/in_flight=10", "RPC/servers=1/prefetch=100/in_flight=100",
	}
	pipeline = []string{"Pipeline/prefetch=1", "Pipeline/prefetch=10", "Pipeline/prefetch=100", "Pipeline/prefetch=1000"}
)

// The cases that say most.
const (
	publish    = "Publish/window=1000/bytes=10"
	publishers = "Publishers/goroutines=1000"
	consume    = "Consume/prefetch=1000/ack=each"
)

// versus pairs the figures of two clients.
func versus(a, b, unit string, cases ...string) (pairs [][2]string) {
	for _, c := range cases {
		pairs = append(pairs, [2]string{c + "/by=" + a + " " + unit, c + "/by=" + b + " " + unit})
	}
	return pairs
}

func targets() []target {
	pair := func(format, a, b string) [][2]string {
		return [][2]string{{fmt.Sprintf(format, a), fmt.Sprintf(format, b)}}
	}
	const (
		window = "Publish/%s/by=amqpx msg/s"
		rpc    = "RPC/servers=1/prefetch=100/%s calls/s"
		memory = "Growth/messages=%s peak-MiB"
	)
	all := []target{
		{what: "publishing from one goroutine, window 1000, 10 B: amqpx / plain", atLeast: true, bound: 1.12, pairs: versus("amqpx", "plain", "msg/s", publish)},
		{what: "– the client's processor time", bound: 0.65, pairs: versus("amqpx", "plain", "µs/msg", publish)},
		{what: "publishing from 1000 goroutines, as lesson 7, 10 B: amqpx / plain", atLeast: true, bound: 1.12, pairs: versus("amqpx", "plain", "msg/s", publishers)},
		{what: "– the client's processor time", bound: 0.65, pairs: versus("amqpx", "plain", "µs/msg", publishers)},
		{what: "consuming, prefetch 1000, acknowledging each: amqpx / plain", atLeast: true, bound: 1.2, pairs: versus("amqpx", "plain", "msg/s", consume)},
		{what: "– the client's processor time", bound: 0.75, pairs: versus("amqpx", "plain", "µs/msg", consume)},
		{what: "every case with many messages on their way: amqpx / plain", atLeast: true, bound: 0.97, each: true, pairs: versus("amqpx", "plain", "msg/s", manyOnTheirWay...)},
		{what: "the cases that wait for the broker or its disk: amqpx / plain", atLeast: true, bound: 0.97, pairs: versus("amqpx", "plain", "msg/s", waiting...)},
		{what: "one confirmed publish, median latency: plain / amqpx", atLeast: true, bound: 0.97, pairs: versus("plain", "amqpx", "p50-µs", "Latency/of=confirm/load=alone")},
		{what: "one RPC call, median latency: plain / amqpx", atLeast: true, bound: 0.97, pairs: versus("plain", "amqpx", "p50-µs", "Latency/of=rpc/load=alone")},
	}
	for _, peer := range []string{"amqplib", "java", "pika"} {
		all = append(all, target{what: "every case with many messages on their way: amqpx / " + peer, atLeast: true, bound: 1, each: true, optional: true,
			pairs: versus("amqpx", peer, "msg/s", manyOnTheirWay...)})
	}
	return append(all, []target{
		{what: "RPC: amqpx / plain", atLeast: true, bound: 0.97, pairs: versus("amqpx", "plain", "calls/s", calls...)},
		{what: "a pipeline's stage: amqpx / plain", atLeast: true, bound: 0.97, pairs: versus("amqpx", "plain", "msg/s", pipeline...)},
		{what: "publishing, window 1000 / window 1, 10 B", atLeast: true, bound: 10, pairs: pair(window, "window=1000/bytes=10", "window=1/bytes=10")},
		{what: "publishing, window 1000 / window 1, 1 kB", atLeast: true, bound: 10, pairs: pair(window, "window=1000/bytes=1000", "window=1/bytes=1000")},
		{what: "RPC, server prefetch 100: 100 calls in flight / one after another", atLeast: true, bound: 8, pairs: pair(rpc, "in_flight=100/by=amqpx", "in_flight=1/by=amqpx")},
		{what: "RPC, server prefetch 100: 100 calls in flight / a connection per call", atLeast: true, bound: 30, pairs: pair(rpc, "in_flight=100/by=amqpx", "in_flight=1/by=per_call")},
		{what: "fair dispatch: makespan / best possible", bound: 1.1, pairs: [][2]string{{"Dispatch/prefetch=1 x-best", ""}}},
		{what: "one `send` process / plain, without confirm", bound: 1.25, pairs: versus("amqpx", "plain", "ms/run", "Send")},
		{what: "memory of `worker`: 1,000,000 messages in the queue / 10,000", bound: 1.1, pairs: pair(memory, "1000000/program=worker", "10000/program=worker"), optional: true},
		// Before its first 100,000 messages, the publisher's heap has not reached its size.
		{what: "memory of a publisher: 1,000,000 messages in the queue / 100,000", bound: 1.1, pairs: pair(memory, "1000000/program=publisher", "100000/program=publisher"), optional: true},
		{what: "1,000 sessions in a process: kB each", bound: 130, pairs: [][2]string{{"Growth/sessions=1000/by=amqpx kB/session", ""}}, optional: true},
		{what: "1,000 sessions in a process: goroutines each", bound: 8, pairs: [][2]string{{"Growth/sessions=1000/by=amqpx goroutines/session", ""}}, optional: true},
	}...)
}

// A part of the page: a text, and tables of the benchmarks whose names begin with a prefix. Each
// table shows some units.
type part struct {
	text, prefix string
	tables       [][]string
}

func parts() []part {
	all := []part{
		{"Publishing to a quorum queue, persistent and mandatory: messages per second, and the client's processor time a message.",
			"Publish/", [][]string{{"msg/s"}, {"µs/msg"}}},
		{"Publishing messages of 10 B from goroutines of one client, each of which waits for its confirm:", "Publishers/", [][]string{{"msg/s"}, {"µs/msg"}}},
		{"Consuming messages of 10 B from a quorum queue:", "Consume/", [][]string{{"msg/s"}, {"µs/msg"}}},
		{"How long a confirmed publish and a call of `fib(10)` take: alone, and at a share of the largest rate of plain amqp091-go. " +
			"The median and the 99th percentile:", "Latency/", [][]string{{"p50-µs", "p99-µs"}}},
		{"Calls of `fib(10)`. `per call` is the official Go port's way, a connection for each call:", "RPC/", [][]string{{"calls/s"}}},
		{"Results per second through lesson 8's stage, the same in plain amqp091-go, and lesson 6's calls with as many in flight:",
			"Pipeline/", [][]string{{"msg/s"}}},
		{"A whole `send`:", "Send/", [][]string{{"ms/run"}}},
		{"Lesson 2's tasks (heavy, light, heavy, light) with two workers:", "Dispatch/", [][]string{{"s/run", "x-best"}}},
	}
	for _, p := range plots {
		all = append(all, part{fmt.Sprintf("![Two charts over %s: %s, and %s](%s)", p.key, p.columns[0], p.columns[1], p.file), "Growth/" + p.key + "=", [][]string{p.columns}})
	}
	return append(all, []part{
		{"One node, and three nodes on the same processors. Queues, each with a publisher (window 100) and a consumer (prefetch 100):",
			"Cluster/queues=", [][]string{{"published/s", "consumed/s"}}},
		{"Publishers of one queue, with a window of 10:", "Cluster/publishers=", [][]string{{"published/s"}}},
		{"Workers of one queue, with a prefetch of 1:", "Cluster/workers=", [][]string{{"consumed/s"}}},
		{"Sessions of one process, when a node is killed (`kill -9`): how many lost it, and how many seconds after the kill the first, " +
			"half, and all of them consumed again. A single node is started again at once:",
			"Cluster/sessions=", [][]string{{"lost", "s-first", "s-half", "s-all"}}},
	}...)
}

// print prints the targets, then the figures.
func (r *results) print(out io.Writer) error {
	fmt.Fprintf(out, "\nRabbitMQ %s, %s, %s × %s, %s/%s, %s.", r.config["rabbitmq"], r.config["go"], r.config["processors"],
		cmp.Or(r.config["cpu"], "unknown processor"), r.config["goos"], r.config["goarch"], r.config["date"])
	for _, peer := range []string{"amqplib", "java", "pika"} {
		fmt.Fprintf(out, " %s.", r.config[peer])
	}
	fmt.Fprint(out, "\n\n| what | target | measured | lowest to highest case | |\n| --- | --- | ---: | --- | --- |\n")
	for _, t := range targets() {
		row, err := r.row(t)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, row)
	}
	fmt.Fprint(out, "\n", r.room())
	for _, p := range parts() {
		for i, units := range p.tables {
			table, err := r.table(p.prefix, units)
			if err != nil {
				return err
			}
			if i == 0 && table != "" {
				fmt.Fprintf(out, "\n%s\n", p.text)
			}
			fmt.Fprint(out, table)
		}
	}
	fmt.Fprintln(out, r.sizing())
	return nil
}

// room says how much faster a client could be if it took no processor time, and left its part of the
// processors to the broker.
func (r *results) room() string {
	processors, _ := strconv.ParseFloat(r.config["processors"], 64)
	var says []any
	for _, c := range []string{publish, consume} {
		part := median(r.series[c+"/by=plain msg/s"]) * median(r.series[c+"/by=plain µs/msg"]) / 1e6 / processors
		says = append(says, 100*part, 1/(1-part))
	}
	return fmt.Sprintf("Plain amqp091-go takes %.0f%% of the processors when it publishes with a window of 1000: a client that took nothing, "+
		"and left its part to the broker, would be about %.2f times as fast.\n"+
		"When it consumes with a prefetch of 1000 and acknowledges each message, it takes %.0f%%: about %.2f times as fast.\n", says...)
}

// five returns what README.md says.
func (r *results) five() (string, error) {
	text := fmt.Sprintf("Five figures from [the benchmarks](internal/test/bench/README.md): %s processors, RabbitMQ %s, %s.\n\n",
		r.config["processors"], r.config["rabbitmq"], r.config["date"])
	for _, f := range []struct {
		format string
		pairs  [][2]string
	}{
		{"publishing from one goroutine, a thousand on their way: %.2f times as fast as plain amqp091-go, with %.2f of its processor time;",
			append(versus("amqpx", "plain", "msg/s", publish), versus("amqpx", "plain", "µs/msg", publish)...)},
		{"consuming, with an acknowledgement each: %.2f and %.2f;",
			append(versus("amqpx", "plain", "msg/s", consume), versus("amqpx", "plain", "µs/msg", consume)...)},
		{"publishing from a thousand goroutines: %.2f times as fast as plain, %.0f times as fast as one by one;",
			append(versus("amqpx", "plain", "msg/s", publishers), [2]string{publishers + "/by=amqpx msg/s", "Publish/window=1/bytes=10/by=amqpx msg/s"})},
		{"lesson 2's tasks with prefetch 1: %.2f times the best possible time (no limit: %.2f);",
			[][2]string{{"Dispatch/prefetch=1 x-best", ""}, {"Dispatch/prefetch=0 x-best", ""}}},
		{"a `send`, from start to end: %.0f ms.", [][2]string{{"Send/by=amqpx ms/run", ""}}},
	} {
		var figures []any
		for _, pair := range f.pairs {
			ratio, err := r.ratio(pair[0], pair[1])
			if err != nil {
				return "", err
			}
			figures = append(figures, ratio)
		}
		text += fmt.Sprintf("- "+f.format+"\n", figures...)
	}
	return text, nil
}

// who is the order of a table's columns.
var who = []string{"amqpx", "plain", "amqplib", "java", "pika", "rpc", "per_call", "publisher", "consumer", "worker", "1_node", "3_nodes", ""}

var lastPart = regexp.MustCompile(`/(?:by|program)=(\w+)$`)

// table returns the medians of all benchmarks whose names begin with prefix: a row for each case, a
// column for each unit and who did the work. A table of one unit has the ratio of the twins too.
func (r *results) table(prefix string, units []string) (string, error) {
	var cases, columns []string
	for _, key := range r.names {
		name, unit, _ := strings.Cut(key, " ")
		if !strings.HasPrefix(name, prefix) || !slices.Contains(units, unit) {
			continue
		}
		by := ""
		if m := lastPart.FindStringSubmatch(name); m != nil {
			by = m[1]
		}
		if c := lastPart.ReplaceAllString(name, ""); !slices.Contains(cases, c) {
			cases = append(cases, c)
		}
		if !slices.Contains(columns, by) {
			columns = append(columns, by)
		}
	}
	if len(cases) == 0 {
		return "", nil
	}
	slices.SortFunc(columns, func(a, b string) int { return cmp.Compare(slices.Index(who, a), slices.Index(who, b)) })
	twins := len(units) == 1 && slices.Contains(columns, "plain")

	var table strings.Builder
	head, rule := "\n| |", "| --- |"
	for _, unit := range units {
		for _, by := range columns {
			head += fmt.Sprintf(" %s |", strings.TrimSpace(words(by)+" "+unit))
			rule += " ---: |"
		}
	}
	if twins {
		head, rule = head+" amqpx / plain |", rule+" ---: |"
	}
	fmt.Fprintf(&table, "%s\n%s\n", head, rule)
	for _, c := range cases {
		fmt.Fprintf(&table, "| %s |", label(c))
		for _, unit := range units {
			for _, by := range columns {
				values := r.series[c+" "+unit]
				for _, k := range []string{"by", "program"} {
					values = append(values, r.series[c+"/"+k+"="+by+" "+unit]...)
				}
				if len(values) == 0 {
					table.WriteString(" |")
				} else {
					fmt.Fprintf(&table, " %s |", figure(median(values)))
				}
			}
		}
		if twins {
			pair := versus("amqpx", "plain", units[0], c)[0]
			ratio, err := r.ratio(pair[0], pair[1])
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&table, " %.2f |", ratio)
		}
		table.WriteString("\n")
	}
	return table.String(), nil
}

// row returns a target's line in the table.
func (r *results) row(t target) (string, error) {
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	if t.optional && len(r.series[t.pairs[0][0]])*len(r.series[cmp.Or(t.pairs[0][1], t.pairs[0][0])]) == 0 {
		return fmt.Sprintf("| %s | %s %v | | | not measured on this machine |", t.what, sign, t.bound), nil
	}
	var ratios []float64
	mean := 0.0 // geometric: twice as fast and half as fast cancel out
	for _, pair := range t.pairs {
		ratio, err := r.ratio(pair[0], pair[1])
		if err != nil {
			return "", fmt.Errorf("%s: %w", t.what, err)
		}
		ratios = append(ratios, ratio)
		mean += math.Log(ratio) / float64(len(t.pairs))
	}
	if len(ratios) == 0 {
		return "", fmt.Errorf("%s: no figures", t.what)
	}
	mean = math.Exp(mean)
	low, high := slices.Min(ratios), slices.Max(ratios)
	bound, cases, verdict := fmt.Sprint(sign, " ", t.bound), "", "missed"
	if len(ratios) > 1 {
		cases = fmt.Sprintf("%.2f to %.2f (%d)", low, high, len(ratios))
	}
	if t.each {
		bound = "each " + bound
	} else {
		low, high = mean, mean
	}
	if t.atLeast && low >= t.bound || !t.atLeast && high <= t.bound {
		verdict = "reached"
	}
	return fmt.Sprintf("| %s | %s | %.2f | %s | %s |", t.what, bound, mean, cases, verdict), nil
}

// label is what a table says of a case: "window 1000, bytes 10".
func label(benchmark string) string {
	if _, rest, found := strings.Cut(benchmark, "/"); found {
		benchmark = rest
	}
	return words(strings.NewReplacer("/", ", ", "=", " ").Replace(benchmark))
}

func words(name string) string { return strings.ReplaceAll(name, "_", " ") }

// figure writes a number with as many digits as are useful.
func figure(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.2f", v)
	}
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
