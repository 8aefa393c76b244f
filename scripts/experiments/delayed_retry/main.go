// Delayed_retry hands a task back to its queue three times, and acknowledges it the fourth time.
// With a policy for the queue "delayed_retry", RabbitMQ 4.3 pauses before it delivers the task again.
package main

import (
	"flag"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/scripts/experiments/plain"
)

func main() {
	nack := flag.Bool("nack", false, "hand it back with basic.nack, instead of basic.reject")
	flag.Parse()
	conn := plain.Dial()
	ch, err := conn.Channel()
	plain.Check(err)
	queue, err := ch.QueueDeclare("delayed_retry", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	plain.Check(err)
	tasks, err := ch.Consume(queue.Name, "", false, false, false, false, nil)
	plain.Check(err)
	plain.Check(ch.Publish("", queue.Name, false, false, amqp.Publishing{Body: []byte("A task that fails")}))

	last := time.Now()
	for try := 1; try <= 4; try++ {
		task := <-tasks
		fmt.Printf(" [x] Try %d, after %.0f s\n", try, time.Since(last).Truncate(time.Second).Seconds())
		last = time.Now()
		switch {
		case try == 4:
			plain.Check(task.Ack(false))
		case *nack:
			plain.Check(task.Nack(false, true)) // requeue; RabbitMQ 4.3 does not count this as a failure
		default:
			plain.Check(task.Reject(true)) // requeue
		}
	}
	plain.Check(conn.Close())
}
