package bench_test

import (
	"fmt"
	"strconv"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// BenchmarkPipeline counts the results that a stage publishes per second, from the first one to the
// last. The queue is full of numbers, and fib(10) takes no time.
func BenchmarkPipeline(b *testing.B) {
	for _, c := range []struct{ prefetch, n int }{{1, 500}, {10, 4_000}, {100, 15_000}, {1000, 15_000}} {
		b.Run(fmt.Sprintf("prefetch=%d", c.prefetch), func(b *testing.B) {
			run := func(program, prefetch string) func(*testing.B) {
				return func(b *testing.B) {
					vhost := harness.NewVhost(b)
					ch := harness.Channel(b, vhost.URL)
					harness.DeclareQueue(b, ch, "pipeline_numbers")
					harness.DeclareQueue(b, ch, "pipeline_results")
					numbers := make([]amqp.Publishing, c.n*b.N+1)
					for i := range numbers {
						numbers[i] = amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: strconv.Itoa(i), Body: []byte("10")}
					}
					harness.PublishMessages(b, ch, "", "pipeline_numbers", numbers...)
					results, err := ch.Consume("pipeline_results", "", true, false, false, false, nil)
					check(b, err)

					stage := harness.Start(b, vhost.URL, program, prefetch)
					harness.Next(b, results)
					b.ResetTimer()
					for range len(numbers) - 1 {
						harness.Next(b, results)
					}
					b.StopTimer()
					stage.Kill()
					b.ReportMetric(float64(len(numbers)-1)/b.Elapsed().Seconds(), "msg/s")
					b.ReportMetric(0, "ns/op")
				}
			}
			inTurn(b, twin{"amqpx", run("pipeline_stage", fmt.Sprintf("-prefetch=%d", c.prefetch))},
				twin{"plain", run("plain_stage", strconv.Itoa(c.prefetch))})
		})
	}
}
