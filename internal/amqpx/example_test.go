package amqpx_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

// A publisher declares what it needs, publishes, and is done when the broker has
// confirmed the message. If the connection is lost before that, the function runs
// again on the next one.
func Example_publisher() {
	ctx, cancel := amqpx.WithPublishTimeout(context.Background())
	defer cancel()

	err := amqpx.Run(ctx, os.Getenv("AMQP_URL"), func(s *amqpx.Session) error {
		queue, err := s.DeclareQuorumQueue("amqpx-example")
		if err != nil {
			return err
		}
		return s.PublishConfirmed(ctx, "", queue.Name, amqp.Publishing{
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

// A consumer declares, consumes and acknowledges. Its function runs again for
// every connection, until ctx ends: here with the first message, in a program with
// Ctrl+C.
func Example_consumer() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	err := amqpx.Run(ctx, os.Getenv("AMQP_URL"), func(s *amqpx.Session) error {
		queue, err := s.DeclareQuorumQueue("amqpx-example")
		if err != nil {
			return err
		}
		deliveries, err := s.ConsumeManualAck(ctx, queue.Name)
		if err != nil {
			return err
		}
		for d := range deliveries {
			fmt.Printf("%s\n", d.Body)
			if err := d.Ack(false); err != nil {
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

// A busy consumer has more than one delivery on its way to it, and acknowledges
// several at once: every hundredth time for a hundred deliveries.
func Example_busyConsumer() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	const n = 10_000
	publisher := amqpx.NewPublisher(ctx, os.Getenv("AMQP_URL"), 1000,
		func(s *amqpx.Session) error {
			_, err := s.DeclareQuorumQueue("amqpx-busy-example")
			return err
		},
		func(_ amqp.Publishing, err error) {
			if err != nil {
				log.Fatal(err)
			}
		})
	for range n {
		if err := publisher.Publish("", "amqpx-busy-example", amqp.Publishing{Body: []byte("Hello World!")}); err != nil {
			log.Fatal(err)
		}
	}
	if err := publisher.Close(); err != nil {
		log.Fatal(err)
	}

	done := 0
	err := amqpx.Run(ctx, os.Getenv("AMQP_URL"), func(s *amqpx.Session) error {
		if err := s.Qos(1000, 0, false); err != nil {
			return err
		}
		deliveries, err := s.ConsumeManualAck(ctx, "amqpx-busy-example")
		if err != nil {
			return err
		}
		acks := s.CoalesceAcks(100)
		for d := range deliveries {
			// Work on d here.
			if err := acks.Ack(d); err != nil {
				return err
			}
			if done++; done == n {
				stop()
			}
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(done, "messages")
	// Output: 10000 messages
}
