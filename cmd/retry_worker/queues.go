package main

import (
	"fmt"
	"math"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

const parkedQueue = "retry_parked"

// longestTTL is the longest x-message-ttl that RabbitMQ takes, 49 days.
const longestTTL = math.MaxUint32 * time.Millisecond

// pauseAfter returns the pause after a try that has failed.
func (w *worker) pauseAfter(attempt int) time.Duration { return w.pause << (attempt - 1) }

// next names the queue for a task whose try has failed.
func (w *worker) next(attempt int) string {
	if attempt > w.retries {
		return parkedQueue
	}
	return fmt.Sprintf("retry_wait_%d", w.pauseAfter(attempt).Milliseconds())
}

// declareOthers declares the queue for parked tasks, and for each pause one that leads back to the
// queue of tasks.
func (w *worker) declareOthers(s *amqpx.Session, tasksQueue string) error {
	if _, err := s.DeclareQueue(amqpx.Queue{Name: parkedQueue, Durable: true, Type: amqp.QueueTypeQuorum}); err != nil {
		return err
	}
	for attempt := 1; attempt <= w.retries; attempt++ {
		_, err := s.DeclareQueue(amqpx.Queue{
			Name: w.next(attempt), Durable: true, Type: amqp.QueueTypeQuorum,
			Arguments: amqp.Table{
				// After this time, in milliseconds, a message is dead. The broker then publishes
				// it to this exchange with this routing key: it is back among the tasks.
				amqp.QueueMessageTTLArg:     w.pauseAfter(attempt).Milliseconds(),
				"x-dead-letter-exchange":    "",
				"x-dead-letter-routing-key": tasksQueue,
			},
		})
		if err != nil {
			return err
		}
	}
	return nil
}
