// Publisher_confirms publishes many messages safely, in three ways, and says how fast each
// of them is.
//
// It is lesson 7. All three wait for the broker's confirm of every message. They differ in
// what they do meanwhile: publish.go shows it.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

type race struct{ n, size int }

func main() {
	var r race
	p := program.New(program.Usage{
		Purpose: "Publishes messages with publisher confirms in three ways, and measures them.",
		Example: "go run ./cmd/publisher_confirms -n 10000",
	})
	p.IntVar(&r.n, "n", 50_000, "how many `messages` to publish in each way")
	p.IntVar(&r.size, "size", 100, "the size of a message in `bytes`")
	p.Main(r.run)
}

func (r *race) run(ctx context.Context, url string, _ []string) error {
	if r.n < 1 || r.size < 0 || r.size > 16<<20 {
		return program.Usagef("-n must be at least 1, -size from 0 to 16777216")
	}
	if err := checkQueueIsEmpty(ctx, url); err != nil {
		return err
	}
	msg := amqp.Publishing{
		DeliveryMode: amqp.Persistent, // and so is on disk when it is confirmed
		ContentType:  "application/octet-stream",
		Body:         bytes.Repeat([]byte("."), r.size),
	}
	var oneByOne time.Duration
	for _, way := range []struct {
		name    string
		publish way
	}{{"one by one", publishOneByOne}, {"in batches", publishInBatches}, {"asynchronously", publishAsynchronously}} {
		progress := newProgress(way.name, r.n)
		start := time.Now()
		err := publishOrGiveUp(ctx, way.publish, url, r.n, msg, progress.add)
		took := time.Since(start)
		progress.end()
		if errors.As(err, new(*amqpx.DialError)) {
			return err // without a connection there is no queue to delete
		}
		kept, deleteErr := deleteQueue(ctx, url)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", way.name, err)
		case deleteErr != nil:
			return deleteErr
		case kept < r.n:
			return fmt.Errorf("%s: %d messages confirmed, but %d in the queue", way.name, r.n, kept)
		}
		oneByOne = cmp.Or(oneByOne, took)
		program.Printf(" [x] %-15s %d messages in %.2f s, %.0f messages/s, %.1f times one by one",
			way.name+":", r.n, took.Seconds(), float64(r.n)/took.Seconds(), oneByOne.Seconds()/took.Seconds())
	}
	return nil
}
