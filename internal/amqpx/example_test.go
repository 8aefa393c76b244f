package amqpx_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

// A publisher declares what it needs, publishes, and is done when the broker has
// confirmed the message. If the connection is lost before that, the function runs
// again on the next one.
func Example_publisher() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	err := amqpx.Run(ctx, os.Getenv("AMQP_URL"), func(s *amqpx.Session) error {
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "amqpx-example", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		return s.PublishConfirmed(ctx, amqpx.Route{RoutingKey: queue.Name, Mandatory: true}, amqp.Publishing{
			DeliveryMode: amqp.Persistent,
			Body:         []byte("Hello World!"),
		})
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the broker has it")
	// Output: the broker has it
}

// A consumer declares, consumes and acknowledges. Its function runs again for every
// connection, until ctx ends. Here the first message ends ctx; in a program, Ctrl+C does.
func Example_consumer() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	err := amqpx.Run(ctx, os.Getenv("AMQP_URL"), func(s *amqpx.Session) error {
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "amqpx-example", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		if err := s.Qos(1); err != nil {
			return err
		}
		deliveries, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name, AutoAck: false})
		if err != nil {
			return err
		}
		for d := range deliveries {
			fmt.Printf("%s\n", d.Body)
			if err := amqpx.Ack(d); err != nil {
				return err
			}
			stop() // the loop ends by itself
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: Hello World!
}
