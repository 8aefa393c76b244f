// Head_of_line lets two tasks wait in one queue, each with an expiration of its own.
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
	tasks, err := ch.QueueDeclare("", false, false, true, false, nil) // exclusive: it goes with the connection
	plain.Check(err)
	wait, err := ch.QueueDeclare("", false, false, true, false, amqp.Table{
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": tasks.Name,
	})
	plain.Check(err)
	back, err := ch.Consume(tasks.Name, "", true, false, false, false, nil)
	plain.Check(err)

	start := time.Now()
	for _, task := range []struct{ name, expiration string }{{"The first task", "3000"}, {"The second task", "1000"}} {
		plain.Check(ch.Publish("", wait.Name, false, false, amqp.Publishing{Expiration: task.expiration, Body: []byte(task.name)}))
		fmt.Printf(" [x] %s waits for %s ms\n", task.name, task.expiration)
	}
	for range 2 {
		task := <-back
		fmt.Printf(" [x] %s is back after %.0f s\n", task.Body, time.Since(start).Truncate(time.Second).Seconds())
	}
}
