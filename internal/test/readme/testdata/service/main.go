// Service books orders. It books each order once, even if its message comes twice, and it
// waits for a broker that is not up yet.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ledger, err := os.OpenFile(cmp.Or(os.Getenv("LEDGER"), "ledger.txt"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	booked := make(map[string]bool) // by the id of the message
	for lines := bufio.NewScanner(ledger); lines.Scan(); {
		id, _, _ := strings.Cut(lines.Text(), " ")
		booked[id] = true
	}

	for {
		err := amqpx.Run(ctx, os.Getenv("AMQP_URL"), func(s *amqpx.Session) error {
			return book(ctx, s, ledger, booked)
		})
		// Run gives up if the first connection fails. A service gives up only if its password
		// is wrong.
		if !errors.Is(err, amqpx.ErrConnect) || errors.Is(err, amqp.ErrCredentials) {
			if err != nil {
				log.Fatal(err)
			}
			return
		}
		log.Printf("%v; trying again", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

func book(ctx context.Context, s *amqpx.Session, ledger *os.File, booked map[string]bool) error {
	queue, err := s.DeclareQueue(amqpx.Queue{Name: "orders", Durable: true, Type: amqp.QueueTypeQuorum})
	if err != nil {
		return err
	}
	if err := s.Qos(10); err != nil {
		return err
	}
	orders, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name})
	if err != nil {
		return err
	}
	for order := range orders {
		if !booked[order.MessageId] { // the publisher gives each order an id
			// The work and the id, in one write: a crash leaves both or none.
			if _, err := fmt.Fprintf(ledger, "%s %s\n", order.MessageId, order.Body); err != nil {
				return err
			}
			booked[order.MessageId] = true
		}
		if err := amqpx.Ack(order); err != nil {
			return err
		}
	}
	return nil
}
