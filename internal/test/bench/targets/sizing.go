package main

import (
	"fmt"
	"strings"
)

// A step is something of which a service can have more when it is too slow.
type step struct {
	what   string
	counts []string
	series string // with a place for the count
}

var steps = []step{
	{"a larger prefetch of a consumer", []string{"1", "30", "1000"}, "Consume/prefetch=%s/ack=each/by=amqpx msg/s"},
	{"more workers, with a prefetch of 1", clusterCounts, "Cluster/workers=%s/by=1_node consumed/s"},
	{"a larger window of a publisher", []string{"1", "100", "1000"}, "Publish/window=%s/bytes=10/by=amqpx msg/s"},
	{"more publishers, with a window of 10", clusterCounts, "Cluster/publishers=%s/by=1_node published/s"},
	{"more queues, each with a publisher", clusterCounts, "Cluster/queues=%s/by=1_node published/s"},
	{"more nodes of one machine, with 30 queues", []string{"1_node", "3_nodes"}, "Cluster/queues=30/by=%s published/s"},
}

var clusterCounts = []string{"1", "3", "10", "30"}

// sizing returns a table of the steps: how many messages per second each count has, and the last count
// that brought a tenth more than all before.
func (r *results) sizing() string {
	var table strings.Builder
	table.WriteString("\n| more of what | how many | messages/s | grows no more after |\n| --- | --- | --- | ---: |\n")
	for _, s := range steps {
		var rates []string
		best, of := 0.0, ""
		for _, count := range s.counts {
			values := r.series[fmt.Sprintf(s.series, count)]
			if len(values) == 0 {
				return "" // for lack of a cluster of our own
			}
			rate := median(values)
			if rate >= 1.1*best {
				best, of = rate, count
			}
			rates = append(rates, figure(rate))
		}
		if of == s.counts[len(s.counts)-1] {
			of = "more than " + of
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", s.what, words(strings.Join(s.counts, " → ")), strings.Join(rates, " → "), words(of))
	}
	return table.String()
}
