// Publisher is an asynchronous publisher whose memory can be measured. Each argument is a number
// of messages to have published in all; at each it waits for the confirms, prints the number,
// and goes on when it reads a line.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

func main() {
	confirmed := make(chan error, 1000)
	p := amqpx.NewPublisher(context.Background(), os.Getenv("AMQP_URL"), cap(confirmed),
		func(s *amqpx.Session) error {
			_, err := s.DeclareQuorumQueue("task_queue")
			return err
		},
		func(_ amqp.Publishing, err error) { confirmed <- err })
	msg := amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "text/plain", Body: []byte("0123456789")}

	stdin := bufio.NewScanner(os.Stdin)
	count := 0
	for _, arg := range os.Args[1:] {
		total, err := strconv.Atoi(arg)
		check(err)
		published := make(chan error, 1)
		go func() {
			for range total - count {
				if err := p.Publish("", "task_queue", msg); err != nil {
					published <- err
					return
				}
			}
			published <- nil
		}()
		for ; count < total; count++ {
			check(<-confirmed)
		}
		check(<-published)
		fmt.Println(total)
		stdin.Scan()
	}
	check(p.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
