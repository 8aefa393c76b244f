package amqpx_test

import (
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

func TestRunReturnsWhatTheFunctionReturns(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for _, want := range []error{nil, errors.New("the program's own")} {
		calls := 0
		err := amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
			calls++
			return want
		})
		if err != want || calls != 1 {
			t.Errorf("Run = %v after %d calls, want %v", err, calls, want)
		}
	}
	harness.Eventually(t, time.Minute, "no connection is left", func() bool { return v.Connections() == 0 })
}

// refused reports whether err is the broker's refusal with this reply code.
func refused(err error, code int) bool {
	var refusal *amqp.Error
	return errors.As(err, &refusal) && refusal.Code == code
}

// The second acknowledgement is a mistake of the program, which another session does not mend.
func TestASecondAcknowledgementEndsRun(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	harness.Publish(t, quorumQueue(t, v), "", "q", harness.Numbered("", 10)...)
	calls := 0
	err := amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
		calls++
		deliveries, err := s.Consume(t.Context(), amqpx.Consumer{Queue: "q"})
		if err != nil {
			return err
		}
		for d := range deliveries {
			for range 2 {
				if err := amqpx.Ack(d); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if !refused(err, amqp.PreconditionFailed) || calls != 1 {
		t.Errorf("Run = %v after %d calls", err, calls)
	}
}
