package amqpx

import (
	"fmt"
	"maps"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Queue is a queue to declare. See https://www.rabbitmq.com/docs/queues.
type Queue struct {
	Name      string     // "": the broker makes up a name
	Durable   bool       // the queue is still there after a restart of the broker
	Exclusive bool       // only this connection may use it, and it is deleted with the connection
	Type      string     // such as amqp.QueueTypeQuorum; "": the virtual host's default, normally classic
	Arguments amqp.Table // further ones, such as x-message-ttl
}

// An Exchange is an exchange to declare. See https://www.rabbitmq.com/docs/exchanges.
type Exchange struct {
	Name, Kind string // the kind is such as amqp.ExchangeFanout
	Durable    bool   // the exchange is still there after a restart of the broker
}

// A Binding lets an exchange route messages to a queue. The kind of the exchange and the
// binding key decide which messages.
type Binding struct {
	Exchange, BindingKey, Queue string
}

// DeclareQueue creates the queue if it does not exist, and returns its name and how many
// messages and consumers it has. If it exists with different arguments, the error is
// the broker's 406 PRECONDITION_FAILED; if it is another connection's exclusive queue,
// 405 RESOURCE_LOCKED. Both are an [*amqp.Error].
func (s *Session) DeclareQueue(q Queue) (queue amqp.Queue, err error) {
	arguments := amqp.Table{}
	maps.Copy(arguments, q.Arguments)
	if q.Type != "" {
		arguments[amqp.QueueTypeArg] = q.Type
	}
	err = s.call(fmt.Sprintf("declare queue %q", q.Name), func() (err error) {
		queue, err = s.QueueDeclare(q.Name, q.Durable, false, q.Exclusive, false, arguments)
		return err
	})
	return queue, err
}

// DeclareExchange creates the exchange if it does not exist. If it exists with a different
// kind or durability, the error is the broker's 406 PRECONDITION_FAILED, an
// [*amqp.Error].
func (s *Session) DeclareExchange(x Exchange) error {
	return s.call(fmt.Sprintf("declare exchange %q", x.Name), func() error {
		return s.ExchangeDeclare(x.Name, x.Kind, x.Durable, false, false, false, nil)
	})
}

// QueueBind binds a queue to an exchange. Binding twice is like binding once. If one of
// them does not exist, the error is the broker's 404 NOT_FOUND, an [*amqp.Error].
func (s *Session) QueueBind(b Binding) error {
	return s.call(fmt.Sprintf("bind queue %q to exchange %q", b.Queue, b.Exchange), func() error {
		return s.Channel.QueueBind(b.Queue, b.BindingKey, b.Exchange, false, nil)
	})
}

// call asks the broker for something and waits for the answer, but no longer than a second
// after the end of Run's ctx.
func (s *Session) call(what string, ask func() error) error {
	defer s.socket.CutAfter(s.ctx)()
	return annotate(s.write(s.ctx, ask), what)
}

// annotate says in the error what failed, if there is one.
func annotate(err error, what ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprint(what...), err)
}
