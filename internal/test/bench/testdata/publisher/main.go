// Publisher publishes with a window of a thousand messages, so that its memory can be measured. Each
// argument is a total number of messages. When it has published that many, it waits for the confirms,
// prints the number, and goes on when it reads a line.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

func main() {
	ctx := context.Background()
	check(amqpx.Run(ctx, os.Getenv("AMQP_URL"), func(s *amqpx.Session) error {
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "task_queue", Durable: true, Type: amqp.QueueTypeQuorum})
		check(err)
		to := amqpx.Route{RoutingKey: queue.Name, Mandatory: true}
		msg := amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "text/plain", Body: []byte("0123456789")}

		stdin := bufio.NewScanner(os.Stdin)
		count := 0
		for _, arg := range os.Args[1:] {
			total, err := strconv.Atoi(arg)
			check(err)
			var left atomic.Int64
			left.Store(int64(total - count))
			var publishers sync.WaitGroup
			for range 1000 {
				publishers.Go(func() {
					for left.Add(-1) >= 0 {
						check(s.PublishConfirmed(ctx, to, msg))
					}
				})
			}
			publishers.Wait()
			count = total
			fmt.Println(total)
			stdin.Scan()
		}
		return nil
	}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
