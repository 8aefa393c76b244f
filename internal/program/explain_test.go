package program

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

// refusal is what the broker says when it closes a channel or a connection.
func refusal(code int, reason string) error {
	return fmt.Errorf(`declare queue "hello": %w`, &amqp.Error{Code: code, Reason: reason, Server: true})
}

func dialError(cause error) error {
	return fmt.Errorf("%w to amqp://broker:5672/: %w", amqpx.ErrConnect, cause)
}

// refusedOnWindows is an error as on Windows, where the system's texts end with a full stop.
type refusedOnWindows struct{}

func (refusedOnWindows) Error() string { return "connectex: Connection refused." }
func (refusedOnWindows) Unwrap() error { return syscall.ECONNREFUSED }

func TestEveryErrorNamesTheWayOut(t *testing.T) {
	noServer := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, test := range []struct {
		name string
		err  error
		want []string // what the line must have
		not  []string // what it must not have
	}{
		{"not a URL", fmt.Errorf("%w: it cannot be parsed", amqpx.ErrURL),
			[]string{"not an AMQP URL", "AMQP_URL", "amqp://user:password@localhost:5672/", "percent-encoded"}, nil},
		{"nobody listens", dialError(noServer),
			[]string{"connect to amqp://broker:5672/", "refused", "make up", "AMQP_URL"}, nil},
		{"unknown host", dialError(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "broker", IsNotFound: true}}),
			[]string{"no such host", "Check the host"}, []string{"make up"}},
		{"no answer", dialError(errors.New("no answer within 5s")),
			[]string{"no answer within 5s", "can be reached"}, []string{"make up"}},
		{"wrong password", dialError(amqp.ErrCredentials),
			[]string{"Check the user name and the password"}, []string{"Exception", "make up"}},
		{"unknown virtual host, before the broker said why", dialError(amqp.ErrVhost),
			[]string{"Check the virtual host"}, []string{"Exception"}},
		{"unknown virtual host", dialError(&amqp.Error{Code: amqp.NotAllowed, Reason: "NOT_ALLOWED - vhost nowhere not found", Server: true}),
			[]string{"vhost nowhere not found", "add_vhost"}, []string{"Exception"}},
		{"virtual host of others", dialError(&amqp.Error{Code: amqp.NotAllowed, Reason: "NOT_ALLOWED - access to vhost '/' refused for user 'guest'", Server: true}),
			[]string{"may use the virtual host"}, []string{"add_vhost", "set_permissions"}},
		{"foreign CA", dialError(fmt.Errorf("tls: %w", x509.UnknownAuthorityError{})),
			[]string{"cacertfile="}, nil},
		{"certificate for another host", dialError(fmt.Errorf("tls: %w", x509.HostnameError{Certificate: new(x509.Certificate), Host: "broker"})),
			[]string{"Use the host name"}, nil},

		{"406 queue", refusal(406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'hello' in vhost '/': received 'true' but current is 'false'"),
			[]string{`declare queue "hello": PRECONDITION_FAILED`, "'durable'", "make ctl ARGS='delete_queue hello'"}, []string{"Exception (406)", " -p "}},
		{"406 queue in a virtual host", refusal(406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'hello' in vhost 'demo'"),
			[]string{"make ctl ARGS='delete_queue -p demo hello'"}, nil},
		{"406 exchange", refusal(406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'logs' in vhost '/'"),
			[]string{"'type'", "delete it in the console"}, []string{"delete_queue"}},
		{"406 about something else", refusal(406, "PRECONDITION_FAILED - unknown delivery tag 7"),
			[]string{"unknown delivery tag 7"}, []string{"delete"}},
		{"405", refusal(405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'hello' in vhost '/'"),
			[]string{"RESOURCE_LOCKED", "uses the queue exclusively", "stop that program"}, []string{"delete_queue"}},
		{"an exclusive consumer", refusal(403, "ACCESS_REFUSED - queue 'hello' in vhost '/' in exclusive use"),
			[]string{"uses the queue exclusively"}, []string{"set_permissions"}},
		{"403", refusal(403, "ACCESS_REFUSED - access to queue 'hello' in vhost 'demo' refused for user 'alice'"),
			[]string{"'alice'", "make ctl ARGS='set_permissions -p demo"}, nil},
		{"404", refusal(404, "NOT_FOUND - no exchange 'logs' in vhost '/'"),
			[]string{"no exchange 'logs'"}, []string{"Exception"}},

		{"unconfirmed", fmt.Errorf(`publish to queue "hello": %w`, amqpx.ErrUnconfirmed),
			[]string{"whether it has the message is unknown", "before you publish it again"}, nil},
		{"not AMQP", dialError(&amqp.Error{Code: 501, Reason: "frame size exceeds negotiated frame_max"}),
			[]string{"frame size", "names a RabbitMQ that can be reached"}, nil},
		{"anything else", errors.New("fib(30): no answer"), []string{"fib(30): no answer"}, nil},
		{"the deadline", fmt.Errorf("%w: %w", context.DeadlineExceeded, dialError(noServer)),
			[]string{"gave up at the deadline", "refused"}, []string{"context"}},
		{"a full stop of its own", dialError(refusedOnWindows{}),
			[]string{"refused. No broker"}, []string{".. "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			line := explain(test.err)
			for _, want := range test.want {
				if !strings.Contains(line, want) {
					t.Errorf("explain = %q\nlacks: %q", line, want)
				}
			}
			for _, not := range append(test.not, "\n") {
				if strings.Contains(line, not) {
					t.Errorf("explain = %q\nmust not have: %q", line, not)
				}
			}
		})
	}
}
