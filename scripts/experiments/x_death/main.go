// X_death counts a task's tries with the header x-death, which the broker adds when a message
// expires. After each try, it publishes a copy with all headers to the queue where it waits.
package main

import (
	"fmt"

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
		amqp.QueueMessageTTLArg: 100, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": tasks.Name,
	})
	plain.Check(err)
	back, err := ch.Consume(tasks.Name, "", true, false, false, false, nil)
	plain.Check(err)

	var headers amqp.Table
	for try := 1; try <= 3; try++ {
		plain.Check(ch.Publish("", wait.Name, false, false, amqp.Publishing{Headers: headers, Body: []byte("A task that fails")}))
		headers = (<-back).Headers
		deaths := headers["x-death"].([]any)
		fmt.Printf(" [x] It has failed %d times, and x-death counts %d\n", try, deaths[0].(amqp.Table)["count"])
	}
}
