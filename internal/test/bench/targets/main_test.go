package main

import (
	"encoding/xml"
	"slices"
	"strings"
	"testing"
)

// results of three rounds on a machine that gets slower and slower.
const rounds = `goos: plan9
goarch: amd64
pkg: rabbitmq-tutorial/internal/test/bench
cpu: a processor
BenchmarkX/way=a/by=amqpx-2  	       1	        10.0 msg/s
BenchmarkX/way=a/by=plain-2  	       1	        20.0 msg/s
PASS
BenchmarkY  	       1	 4 B/op
BenchmarkX/way=a/by=plain#01-2  	       1	         4.0 msg/s
BenchmarkX/way=a/by=amqpx-2  	       1	         3.0 msg/s
BenchmarkX/way=a/by=amqpx-2  	       1	         1.0 msg/s
BenchmarkX/way=a/by=plain-2  	       1	         1.0 msg/s
ok  	rabbitmq-tutorial/internal/test/bench	1.0s
`

func parsed(t *testing.T, text string) *results {
	t.Helper()
	r, err := parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRatioComparesWithinARound(t *testing.T) {
	r := parsed(t, rounds)
	if got, err := r.ratio("X/way=a/by=amqpx msg/s", "X/way=a/by=plain msg/s"); got != 0.75 || err != nil {
		t.Errorf("the median of 10/20, 3/4 and 1/1 is %v, %v", got, err)
	}
	if got, err := r.ratio("X/way=a/by=plain msg/s", ""); got != 4 || err != nil {
		t.Errorf("the median of 20, 4 and 1 is %v, %v", got, err)
	}
	if _, err := r.ratio("X/way=a/by=plain msg/s", "Y B/op"); err == nil {
		t.Error("three figures were compared with one")
	}
	if r.config["cpu"] != "a processor" {
		t.Errorf("config: %q", r.config)
	}
	if want := []string{"X/way=a/by=amqpx msg/s", "X/way=a/by=plain msg/s", "Y B/op"}; !slices.Equal(r.names, want) {
		t.Errorf("names: %q", r.names)
	}
}

// A run without one of the benchmarks must not look as if it had reached every target.
func TestMissingFiguresAreAnError(t *testing.T) {
	r := parsed(t, rounds)
	if err := r.print(new(strings.Builder)); err == nil || !strings.Contains(err.Error(), "publishing from one goroutine, window 1000") {
		t.Errorf("print: %v", err)
	}
}

func TestRowSaysWhetherTheTargetIsReached(t *testing.T) {
	r := parsed(t, rounds)
	twins := versus("amqpx", "plain", "msg/s", "X/way=a")
	same := [2]string{twins[0][1], twins[0][1]}
	for _, test := range []struct {
		target target
		want   string
	}{
		{target{what: "a", atLeast: true, bound: 0.75, pairs: twins}, "| a | ≥ 0.75 | 0.75 |  | reached |"},
		{target{what: "a", atLeast: true, bound: 0.76, pairs: twins}, "| a | ≥ 0.76 | 0.75 |  | missed |"},
		{target{what: "a", bound: 0.75, pairs: twins}, "| a | ≤ 0.75 | 0.75 |  | reached |"},
		{target{what: "a", bound: 0.7, pairs: twins}, "| a | ≤ 0.7 | 0.75 |  | missed |"},
		{target{what: "a", bound: 1, pairs: append(twins, same)}, "| a | ≤ 1 | 0.87 | 0.75 to 1.00 (2) | reached |"},
		{target{what: "a", bound: 0.9, each: true, pairs: append(twins, same)}, "| a | each ≤ 0.9 | 0.87 | 0.75 to 1.00 (2) | missed |"},
		{target{what: "a", bound: 1, optional: true, pairs: versus("amqpx", "java", "msg/s", "X/way=a")}, "| a | ≤ 1 | | | not measured on this machine |"},
	} {
		if got, err := r.row(test.target); got != test.want || err != nil {
			t.Errorf("row = %q, %v, want %q", got, err, test.want)
		}
	}
}

func TestTableHasARowForEachCase(t *testing.T) {
	r := parsed(t, rounds)
	for prefix, want := range map[string]string{
		"X/": "\n| | amqpx msg/s | plain msg/s | amqpx / plain |\n| --- | ---: | ---: | ---: |\n| way a | 3.00 | 4.00 | 0.75 |\n",
		"Y":  "\n| | msg/s |\n| --- | ---: |\n| Y | 2.00 |\n",
		"Z/": "",
	} {
		r.names, r.series["Y msg/s"] = append(r.names, "Y msg/s"), []float64{2}
		if got, err := r.table(prefix, []string{"msg/s"}); got != want || err != nil {
			t.Errorf("table(%q) = %q, %v, want %q", prefix, got, err, want)
		}
	}
}

func TestPlotIsSVGWithALineForEachClient(t *testing.T) {
	r := parsed(t, `BenchmarkGrowth/sessions=1/by=plain 1 2 ms/session 50 kB/session
BenchmarkGrowth/sessions=1/by=amqpx 1 4 ms/session 3 kB/session
BenchmarkGrowth/sessions=1000/by=amqpx 1 8 ms/session 90 kB/session
BenchmarkGrowth/sessions=1000/by=plain 1 3 ms/session 100 kB/session
`)
	svg := r.draw(plots[slices.IndexFunc(plots, func(p plot) bool { return p.key == "sessions" })])
	for _, want := range []string{
		`points="64.0,148.0 364.0,76.0 "`,  // 4 and 8 ms, of 10
		`points="64.0,118.1 364.0,100.0 "`, // 50 and 100 kB, of 1 to 1,000 on a logarithmic axis
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("no line %s in %s", want, svg)
		}
	}
	if err := xml.Unmarshal([]byte(svg), new(struct{})); err != nil {
		t.Errorf("it is not XML: %v", err)
	}
	if got := r.draw(plots[0]); got != "" {
		t.Errorf("nothing was measured, and the plot is %q", got)
	}
}

func TestThePageKeepsWhatSurroundsTheFigures(t *testing.T) {
	page := "before\n<!-- written by make bench -->\nold\n<!-- end -->\nafter\n"
	got, err := renew([]byte(page), "new $1\n")
	if want := "before\n<!-- written by make bench -->\nnew $1\n<!-- end -->\nafter\n"; string(got) != want || err != nil {
		t.Errorf("the page is %q, %v", got, err)
	}
	if _, err := renew([]byte("no markers"), "new"); err == nil {
		t.Error("the figures of a page without a place for them are lost")
	}
}

func TestFigureIsAsExactAsItsMeasurement(t *testing.T) {
	for v, want := range map[float64]string{0.123: "0.12", 12.345: "12.35", 123.4: "123", 1234.5: "1,234", 178644: "178,644", 1e6 + 5: "1,000,005"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestRoomIsWhatTheClientTakes(t *testing.T) {
	r := parsed(t, `processors: 2
BenchmarkPublish/window=1000/bytes=10/by=plain-2 1 40000 msg/s 10 µs/msg
BenchmarkConsume/prefetch=1000/ack=each/by=plain-2 1 50000 msg/s 20 µs/msg
`)
	got := r.room()
	for _, want := range []string{"takes 20% of", "1.25 times as fast", "takes 50%", "2.00 times as fast"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

func TestREADMEHasFiveFigures(t *testing.T) {
	r := parsed(t, `processors: 2
rabbitmq: 4.3.6
date: 2026-11-25
BenchmarkPublish/window=1000/bytes=10/by=amqpx-2 1 3000 msg/s 6 µs/msg
BenchmarkPublish/window=1000/bytes=10/by=plain-2 1 2000 msg/s 12 µs/msg
BenchmarkPublish/window=1/bytes=10/by=amqpx-2 1 100 msg/s 6 µs/msg
BenchmarkPublishers/goroutines=1000/by=amqpx-2 1 2500 msg/s 6 µs/msg
BenchmarkPublishers/goroutines=1000/by=plain-2 1 2000 msg/s 6 µs/msg
BenchmarkConsume/prefetch=1000/ack=each/by=amqpx-2 1 4000 msg/s 7 µs/msg
BenchmarkConsume/prefetch=1000/ack=each/by=plain-2 1 2000 msg/s 10 µs/msg
BenchmarkDispatch/prefetch=1-2 1 2.04 s/run 1.02 x-best
BenchmarkDispatch/prefetch=0-2 1 3.22 s/run 1.61 x-best
BenchmarkSend/by=amqpx-2 1 27.4 ms/run
`)
	got, err := r.five()
	for _, want := range []string{
		"2 processors, RabbitMQ 4.3.6, 2026-11-25.", "1.50 times as fast as plain amqp091-go, with 0.50 of", "each: 2.00 and 0.70;",
		"1.25 times as fast as plain, 25 times as fast as one by one", "1.02 times the best possible time (no limit: 1.61)", "27 ms.",
	} {
		if !strings.Contains(got, want) || err != nil {
			t.Errorf("%q is not in %q, %v", want, got, err)
		}
	}
}
