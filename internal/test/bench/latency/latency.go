// Package latency measures how long calls take, beside a twin's.
package latency

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	alone  = 500         // calls, one at a time
	period = time.Second // of each measurement under load
)

// Compare reports the median and the 99th percentile of calls of amqpx and of plain amqp091-go: one at
// a time, with the two taking turns call by call, and then under load: at a tenth, a half and nine
// tenths of the rate that plain reaches with so many calls in flight.
func Compare(b *testing.B, inFlight int, amqpx, plain func() error) {
	clients := map[string]func() error{"amqpx": amqpx, "plain": plain}
	took := make(map[string][]time.Duration)
	for range alone {
		for by, call := range clients { // in random order
			start := time.Now()
			if err := call(); err != nil {
				b.Fatal(err)
			}
			took[by] = append(took[by], time.Since(start))
		}
	}
	for by, took := range took {
		report(b, "load=alone/by="+by, took)
	}

	most := len(at(b, 0, inFlight, plain))
	for _, percent := range []int{10, 50, 90} {
		rate := max(1, most*percent/100)
		names := []string{"amqpx", "plain"}
		rand.Shuffle(2, func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, by := range names {
			report(b, fmt.Sprintf("load=%d%%/by=%s", percent, by), at(b, rate, inFlight, clients[by]))
		}
	}
}

// at makes calls for a period, rate of them in each second, or as many as it can if rate is 0. At
// most inFlight calls are made at once. A call that begins late because all goroutines are busy
// takes its time from when it was due: those who wait count too.
func at(b *testing.B, rate, inFlight int, call func() error) (took []time.Duration) {
	var (
		begun   atomic.Int64
		callers sync.WaitGroup
		mu      sync.Mutex
		failure error
	)
	begin := time.Now()
	for range inFlight {
		callers.Go(func() {
			var mine []time.Duration
			for {
				start := time.Now()
				if n := begun.Add(1); rate > 0 { // when it is due
					start = begin.Add(time.Duration(n) * time.Second / time.Duration(rate))
				}
				if start.Sub(begin) > period {
					break
				}
				if wait := time.Until(start); wait > 0 {
					time.Sleep(wait)
					start = time.Now() // a timer may be a millisecond late, which is not the call's time
				}
				if err := call(); err != nil {
					mu.Lock()
					failure = err
					mu.Unlock()
					break
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	callers.Wait()
	if failure != nil {
		b.Fatal(failure)
	}
	return took
}

func report(b *testing.B, name string, took []time.Duration) {
	slices.Sort(took)
	b.Run(name, func(b *testing.B) {
		µs := func(share int) float64 { return float64(took[len(took)*share/100]) / float64(time.Microsecond) }
		b.ReportMetric(µs(50), "p50-µs")
		b.ReportMetric(µs(99), "p99-µs")
		b.ReportMetric(0, "ns/op")
	})
}
