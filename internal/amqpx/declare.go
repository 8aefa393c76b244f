package amqpx

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Queue is a queue to declare. See https://www.rabbitmq.com/docs/queues.
type Queue struct {
	Name      string // "": the broker makes up a name
	Durable   bool   // the queue is still there after a restart of the broker
	Exclusive bool   // only this connection may use it, and it is deleted with the connection
	Type      string // such as amqp.QueueTypeQuorum; "": the broker's default, a classic queue
}

// An Exchange is an exchange to declare. See https://www.rabbitmq.com/docs/exchanges.
type Exchange struct {
	Name    string
	Kind    string // such as amqp.ExchangeFanout
	Durable bool   // the exchange is still there after a restart of the broker
}

// A Binding has an exchange route messages to a queue: which ones, the exchange
// decides by its kind and the binding key.
type Binding struct {
	Exchange   string
	BindingKey string
	Queue      string
}

// DeclareQueue makes sure that the queue exists, and returns its name and how many
// messages and consumers it has. If it exists with different arguments, the error is
// the broker's 406 PRECONDITION_FAILED; if it is another connection's exclusive queue,
// 405 RESOURCE_LOCKED. Both are an [*amqp.Error].
func (s *Session) DeclareQueue(q Queue) (amqp.Queue, error) {
	var arguments amqp.Table
	if q.Type != "" {
		arguments = amqp.Table{amqp.QueueTypeArg: q.Type}
	}
	queue, err := s.QueueDeclare(q.Name, q.Durable, false, q.Exclusive, false, arguments)
	if err != nil {
		return amqp.Queue{}, fmt.Errorf("declare queue %q: %w", q.Name, err)
	}
	return queue, nil
}

// DeclareExchange makes sure that the exchange exists. If it exists with a different
// kind or durability, the error is the broker's 406 PRECONDITION_FAILED, an
// [*amqp.Error].
func (s *Session) DeclareExchange(x Exchange) error {
	if err := s.ExchangeDeclare(x.Name, x.Kind, x.Durable, false, false, false, nil); err != nil {
		return fmt.Errorf("declare exchange %q: %w", x.Name, err)
	}
	return nil
}

// QueueBind binds a queue to an exchange. To bind twice is to bind once. If one of
// them does not exist, the error is the broker's 404 NOT_FOUND, an [*amqp.Error].
func (s *Session) QueueBind(b Binding) error {
	if err := s.Channel.QueueBind(b.Queue, b.BindingKey, b.Exchange, false, nil); err != nil {
		return fmt.Errorf("bind queue %q to exchange %q: %w", b.Queue, b.Exchange, err)
	}
	return nil
}
