// Publisher_confirms publishes many messages safely, in three ways, and says how fast each
// way is.
//
// It is lesson 7. All three, in publish.go, wait for the broker's confirm of every message:
// the first after each message, the second after each hundred. The third publishes on, with at
// most a thousand messages on their way.
package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

type benchmark struct{ n, size int }

func main() {
	var b benchmark
	p := program.New(program.Usage{
		Purpose: "Publishes messages with publisher confirms in three ways, and measures them.",
		Example: "go run ./cmd/publisher_confirms -n 10000",
	})
	p.IntVar(&b.n, "n", 50_000, "how many `messages` to publish in each way")
	p.IntVar(&b.size, "size", 100, "the size of a message in `bytes`")
	p.Main(b.run)
}

func (b *benchmark) run(ctx context.Context, url string, _ []string) error {
	if b.n < 1 || b.size < 0 || b.size > 16<<20 {
		return program.Usagef("-n must be at least 1, -size from 0 to 16777216 (16 MiB)")
	}
	// A durable queue, a persistent message, a confirm: what is confirmed is on disk. Through
	// the default exchange, and mandatory: without the queue, the message would come back.
	queue := amqpx.Queue{Name: "publisher_confirms", Durable: true, Type: amqp.QueueTypeQuorum}
	to := amqpx.Route{Exchange: "", RoutingKey: queue.Name, Mandatory: true}
	msg := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: bytes.Repeat([]byte("."), b.size)}
	if err := checkEmpty(ctx, url, queue); err != nil {
		return err
	}

	var oneByOne time.Duration
	for _, way := range ways() {
		// Each way declares the queue, publishes, and waits for the confirm of every message.
		progress := newProgress(way.name, b.n)
		start := time.Now()
		err := publishOrGiveUp(ctx, way.publish, url, load{queue, to, msg, b.n}, progress.add)
		took := time.Since(start)
		progress.end()
		kept, deleteErr := deleteQueue(ctx, url, queue.Name) // kept: how many messages it had
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", way.name, err)
		case deleteErr != nil:
			return deleteErr
		case kept < b.n: // more is possible: what was in doubt was published again
			return fmt.Errorf("%s: %d messages confirmed, but %d in the queue", way.name, b.n, kept)
		}
		if oneByOne == 0 {
			oneByOne = took
		}
		program.Printf(" [x] %-15s %d messages in %.2f s, %.0f messages/s, %.1f times one by one",
			way.name+":", b.n, took.Seconds(), float64(b.n)/took.Seconds(), oneByOne.Seconds()/took.Seconds())
	}
	return nil
}
