// Plain_stage does what pipeline_stage does, with amqp091-go and nothing else.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/fib"
)

func main() {
	prefetch, err := strconv.Atoi(os.Args[1])
	check(err)
	conn, err := amqp.Dial(os.Getenv("AMQP_URL"))
	check(err)
	ch, err := conn.Channel()
	check(err)
	for _, queue := range []string{"pipeline_numbers", "pipeline_results"} {
		_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
		check(err)
	}
	check(ch.Confirm(false))
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	check(ch.Qos(prefetch, 0, false))
	// Each delivery carries the consumer tag. amqp091-go's own is a long path, and slow.
	numbers, err := ch.Consume("pipeline_numbers", "plain", false, false, false, false, nil)
	check(err)
	fmt.Println(" [*] Waiting for messages. To exit press CTRL+C")

	for number := range numbers {
		go func() {
			n, err := strconv.Atoi(string(number.Body))
			check(err)
			fmt.Printf(" [.] fib(%d)\n", n)
			confirm, err := ch.PublishWithDeferredConfirm("", "pipeline_results", true, false, amqp.Publishing{
				DeliveryMode: amqp.Persistent,
				ContentType:  "text/plain",
				MessageId:    number.MessageId,
				Headers:      amqp.Table{"n": n},
				Body:         []byte(fib.Number(n).String()),
			})
			check(err)
			if !confirm.Wait() || len(returns) > 0 {
				log.Fatal("refused")
			}
			check(number.Ack(false))
		}()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
