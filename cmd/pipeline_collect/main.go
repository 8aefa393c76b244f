// Pipeline_collect prints what arrives in the queue "pipeline_results".
//
// It is the end of lesson 8's pipeline. A result may come twice; it counts once. result.go
// remembers the message ids, and puts messages into words.
package main

import (
	"context"
	"log"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: "Prints the results of the pipeline.",
		Example: "go run ./cmd/pipeline_collect",
	}).Main(run)
}

func run(ctx context.Context, url string, _ []string) error {
	var seen ids // it outlives the sessions
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// The same arguments as in pipeline_stage: either program may be started first.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "pipeline_results", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		// Printing takes no time, so the prefetch may be large.
		if err := s.Qos(100); err != nil {
			return err
		}
		// AutoAck false: the broker keeps each result until we acknowledge it.
		results, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name, AutoAck: false})
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for messages. To exit press CTRL+C")

		for result := range results {
			text, err := read(result)
			switch {
			case seen.again(result.MessageId):
				log.Printf("%s again, ignored", text)
			case err != nil:
				log.Printf("%s: %v", text, err)
			default:
				program.Printf(" [x] %s", text)
			}
			if err := amqpx.Ack(result); err != nil {
				return err
			}
		}
		return nil
	})
}
