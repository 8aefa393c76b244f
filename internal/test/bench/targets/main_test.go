package main

import (
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
BenchmarkX/way=a/by=plain-2  	       1	         4.0 msg/s
BenchmarkX/way=a/by=amqpx-2  	       1	         3.0 msg/s
BenchmarkX/way=a/by=amqpx-2  	       1	         1.0 msg/s
BenchmarkX/way=a/by=plain-2  	       1	         1.0 msg/s
ok  	rabbitmq-tutorial/internal/test/bench	1.0s
`

func TestRatioComparesWithinARound(t *testing.T) {
	r, err := parse(strings.NewReader(rounds))
	if err != nil {
		t.Fatal(err)
	}
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
	r, err := parse(strings.NewReader(rounds))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.print(new(strings.Builder)); err == nil || !strings.Contains(err.Error(), "publishing one by one") {
		t.Errorf("print: %v", err)
	}
}

func TestRowSaysWhetherTheTargetIsReached(t *testing.T) {
	r, err := parse(strings.NewReader(rounds))
	if err != nil {
		t.Fatal(err)
	}
	twins := r.twins("X/", "/way=a/")
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
		{target{what: "a", bound: 1, onlyOn: "linux"}, "| a | ≤ 1 | | | measured on linux only |"},
	} {
		if got, err := r.row(test.target); got != test.want || err != nil {
			t.Errorf("row = %q, %v, want %q", got, err, test.want)
		}
	}
}

func TestFigureIsAsExactAsItsMeasurement(t *testing.T) {
	for v, want := range map[float64]string{0.123: "0.12", 12.345: "12.35", 123.4: "123", 1234.5: "1,234", 178644: "178,644", 1e6 + 5: "1,000,005"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %q, want %q", v, got, want)
		}
	}
}
