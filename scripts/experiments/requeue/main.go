// Requeue hands a task that fails back to its queue at once, again and again for a second.
package main

import (
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/scripts/experiments/plain"
)

func main() {
	conn := plain.Dial()
	defer conn.Close()
	ch, err := conn.Channel()
	plain.Check(err)
	queue, err := ch.QueueDeclare("", false, false, true, false, nil) // exclusive: it goes with the connection
	plain.Check(err)
	plain.Check(ch.Qos(1, 0, false))
	tasks, err := ch.Consume(queue.Name, "", false, false, false, false, nil)
	plain.Check(err)
	plain.Check(ch.Publish("", queue.Name, false, false, amqp.Publishing{Body: []byte("A task that fails")}))

	tries := 0
	for enough := time.After(time.Second); ; tries++ {
		select {
		case task := <-tasks:
			plain.Check(task.Nack(false, true)) // requeue: the broker delivers it again
		case <-enough:
			fmt.Printf(" [x] Tried the same task %d times in a second\n", tries)
			return
		}
	}
}
