package amqpx

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Declaring is idempotent: the broker makes what is missing and says nothing
// about what is there already. What is there with other arguments it refuses
// with 406 PRECONDITION_FAILED, as an [*amqp.Error] in the errors below.

// DeclareQuorumQueue declares a queue that survives the broker: durable, and
// replicated to the disks of a cluster. See
// https://www.rabbitmq.com/docs/quorum-queues.
func (s *Session) DeclareQuorumQueue(name string) (amqp.Queue, error) {
	queue, err := s.QueueDeclare(name, true, false, false, false, amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum,
	})
	if err != nil {
		return amqp.Queue{}, fmt.Errorf("declare queue %q: %w", name, err)
	}
	return queue, nil
}

// DeclareTemporaryQueue declares a queue of the session's own, under a name that
// the broker makes up. It is exclusive: no other connection may use it, and it
// goes away with this one. See https://www.rabbitmq.com/docs/queues#names.
func (s *Session) DeclareTemporaryQueue() (amqp.Queue, error) {
	queue, err := s.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		return amqp.Queue{}, fmt.Errorf("declare a temporary queue: %w", err)
	}
	return queue, nil
}

// DeclareExchange declares an exchange of a kind such as [amqp.ExchangeFanout].
// It is not durable: a broker that restarts has forgotten it. See
// https://www.rabbitmq.com/docs/exchanges.
func (s *Session) DeclareExchange(name, kind string) error {
	if err := s.ExchangeDeclare(name, kind, false, false, false, false, nil); err != nil {
		return fmt.Errorf("declare exchange %q: %w", name, err)
	}
	return nil
}
