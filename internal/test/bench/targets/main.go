// Targets reads benchmark results in the standard format and prints, as Markdown, the project's
// targets beside what was measured, and all the figures.
//
//	scripts/bench.sh | .bin/targets
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	log.SetFlags(0)
	r, err := parse(os.Stdin)
	if err == nil {
		err = r.print(os.Stdout)
	}
	if err != nil {
		log.Fatal("targets: ", err)
	}
}

// results are what benchmarks measured: for each "NAME UNIT", a figure of each round.
type results struct {
	config map[string]string // the lines "key: value"
	series map[string][]float64
	names  []string // of series, in the order of the input
}

var cpus = regexp.MustCompile(`-\d+$`) // what go test appends to a benchmark's name

// parse reads the format of https://go.dev/design/14313-benchmark-format.
func parse(in io.Reader) (*results, error) {
	r := &results{config: make(map[string]string), series: make(map[string][]float64)}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ": "); ok && !strings.ContainsAny(key, " \t") {
			r.config[key] = value
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := cpus.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
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

// A target is a bound for the mean of some ratios.
type target struct {
	what    string
	atLeast bool
	bound   float64
	pairs   [][2]string // of series; the second one may be ""
	onlyOn  string      // the operating system, if it is not measured on all
}

// twins pairs the figures of amqpx with those of plain amqp091-go, for all benchmarks whose name
// begins with prefix and contains part.
func (r *results) twins(prefix, part string) (pairs [][2]string) {
	for _, name := range r.names {
		if plain := strings.Replace(name, "/by=amqpx ", "/by=plain ", 1); plain != name &&
			strings.HasPrefix(name, prefix) && strings.Contains(name, part) {
			pairs = append(pairs, [2]string{name, plain})
		}
	}
	return pairs
}

func (r *results) targets() []target {
	pair := func(format, a, b string) [][2]string {
		return [][2]string{{fmt.Sprintf(format, a), fmt.Sprintf(format, b)}}
	}
	const (
		publish = "Publish/queue=quorum/bytes=%s/by=amqpx msg/s"
		rpc     = "RPC/servers=1/prefetch=100/%s calls/s"
		memory  = "Memory/program=%s peak-MiB"
	)
	return []target{
		{what: "publishing one by one: amqpx / plain", atLeast: true, bound: 0.97, pairs: r.twins("Publish/", "/way=one_by_one/")},
		{what: "publishing in batches of 100: amqpx / plain", atLeast: true, bound: 0.97, pairs: r.twins("Publish/", "/way=batches/")},
		{what: "publishing asynchronously: amqpx / plain", atLeast: true, bound: 0.97, pairs: r.twins("Publish/", "/way=async/")},
		{what: "consuming: amqpx / plain", atLeast: true, bound: 0.97, pairs: r.twins("Consume/", "")},
		{what: "a pipeline's stage: amqpx / plain", atLeast: true, bound: 0.97, pairs: r.twins("Pipeline/", "")},
		{what: "publishing asynchronously / one by one, 10 B", atLeast: true, bound: 10, pairs: pair(publish, "10/way=async", "10/way=one_by_one")},
		{what: "publishing asynchronously / one by one, 1 kB", atLeast: true, bound: 10, pairs: pair(publish, "1000/way=async", "1000/way=one_by_one")},
		{what: "RPC, server prefetch 100: 100 calls in flight / one after another", atLeast: true, bound: 8, pairs: pair(rpc, "in_flight=100/by=amqpx", "in_flight=1/by=amqpx")},
		{what: "RPC, server prefetch 100: 100 calls in flight / a connection per call", atLeast: true, bound: 30, pairs: pair(rpc, "in_flight=100/by=amqpx", "in_flight=1/by=per_call")},
		{what: "fair dispatch: makespan / best possible", bound: 1.1, pairs: [][2]string{{"Dispatch/prefetch=1 x-best", ""}}},
		{what: "memory of `worker`: 1,000,000 messages in the queue / 10,000", bound: 1.1, pairs: pair(memory, "worker/queued=1000000", "worker/queued=10000"), onlyOn: "linux"},
		// Before its first 100,000 messages, the publisher's heap has not reached its size.
		{what: "memory of a publisher: 1,000,000 messages in the queue / 100,000", bound: 1.1, pairs: pair(memory, "publisher/queued=1000000", "publisher/queued=100000"), onlyOn: "linux"},
		{what: "one `send` process / plain, without confirm", bound: 1.25, pairs: [][2]string{{"Send/by=amqpx ms/run", "Send/by=plain ms/run"}}},
	}
}

// print prints the targets, then the figures.
func (r *results) print(out io.Writer) error {
	fmt.Fprintf(out, "\nRabbitMQ %s, %s, %s, %s/%s, %s\n\n", r.config["rabbitmq"], r.config["go"],
		cmp.Or(r.config["cpu"], "unknown processor"), r.config["goos"], r.config["goarch"], r.config["date"])

	fmt.Fprint(out, "| what | target | measured | lowest to highest case | |\n| --- | --- | --- | --- | --- |\n")
	for _, t := range r.targets() {
		row, err := r.row(t)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, row)
	}

	fmt.Fprint(out, "\n| benchmark | amqpx | plain amqp091-go | ratio | unit |\n| --- | ---: | ---: | ---: | --- |\n")
	for _, key := range r.names {
		name, unit, _ := strings.Cut(key, " ")
		plain := strings.Replace(key, "/by=amqpx ", "/by=plain ", 1)
		switch {
		case plain != key:
			ratio, err := r.ratio(key, plain)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "| %s | %s | %s | %.2f | %s |\n", strings.TrimSuffix(name, "/by=amqpx"),
				figure(median(r.series[key])), figure(median(r.series[plain])), ratio, unit)
		case !strings.HasSuffix(name, "/by=plain"):
			fmt.Fprintf(out, "| %s | %s | | | %s |\n", name, figure(median(r.series[key])), unit)
		}
	}
	return nil
}

// row returns a target's line in the table.
func (r *results) row(t target) (string, error) {
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	if t.onlyOn != "" && t.onlyOn != r.config["goos"] {
		return fmt.Sprintf("| %s | %s %v | | | measured on %s only |", t.what, sign, t.bound, t.onlyOn), nil
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
	cases, verdict := "", "missed"
	if len(ratios) > 1 {
		cases = fmt.Sprintf("%.2f to %.2f (%d)", slices.Min(ratios), slices.Max(ratios), len(ratios))
	}
	if t.atLeast && mean >= t.bound || !t.atLeast && mean <= t.bound {
		verdict = "reached"
	}
	return fmt.Sprintf("| %s | %s %v | %.2f | %s | %s |", t.what, sign, t.bound, mean, cases, verdict), nil
}

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
