package program

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

// explain returns err in one line: what happened, and what to do next if that is known.
func explain(err error) string {
	if next := advice(err); next != "" {
		return strings.TrimSuffix(describe(err), ".") + ". " + next
	}
	return describe(err)
}

// describe returns err in one line, in the broker's own words if the broker refused something.
func describe(err error) string {
	text := err.Error()
	var refusal *amqp.Error
	if errors.As(err, &refusal) {
		text = strings.Replace(text, refusal.Error(), refusal.Reason, 1)
	}
	return strings.Replace(text, context.DeadlineExceeded.Error(), "gave up at the deadline", 1)
}

const tlsExample = "amqps://...?cacertfile=ca.pem&certfile=client.pem&keyfile=client-key.pem"

func advice(err error) string {
	var refusal *amqp.Error
	switch {
	case errors.Is(err, amqpx.ErrURL):
		return "Set AMQP_URL, or -url, to something like amqp://user:password@localhost:5672/, special characters percent-encoded"
	case errors.Is(err, errTLSFile):
		return "Check the PEM files in AMQP_URL or -url: " + tlsExample
	case errors.Is(err, amqp.ErrCredentials):
		return "Check the user name and the password in AMQP_URL or -url (guest may often connect from the broker's own machine only)"
	case errors.Is(err, amqp.ErrVhost):
		return "Check the virtual host in AMQP_URL or -url"
	case errors.As(err, &refusal) && refusal.Server: // the broker sent it; the library did not make it up
		return adviceOn(refusal)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "If the broker's certificate comes from a CA of your own, name its file: amqps://...?cacertfile=ca.pem"
	case errors.As(err, new(x509.HostnameError)):
		return "Use the host name that the broker's certificate is for"
	case errors.As(err, new(x509.CertificateInvalidError)):
		return "The broker needs another certificate (or this machine's clock is wrong)"
	case errors.Is(err, amqpx.ErrUnconfirmed):
		return "Look at the queue before you publish it again (in a cluster, more than half of the queue's nodes must be up)"
	case errors.Is(err, amqpx.ErrNacked):
		return "The queue may be full, by a limit in its policy, or without a leader (in a cluster, more than half of its nodes must be up): look at it, and publish again"
	case errors.Is(err, amqpx.ErrUnroutable):
		return "No queue has this name, or nothing is bound for this key: compare them letter by letter with make ctl ARGS=list_bindings"
	case errors.As(err, new(*net.DNSError)):
		return "Check the host in AMQP_URL or -url"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.Errno(10061)): // as Windows has it
		return "No broker listens there: `make up` starts one, AMQP_URL or -url names another"
	case errors.Is(err, amqpx.ErrConnect) && strings.Contains(err.Error(), "amqps:"):
		return "Check that AMQP_URL or -url names a RabbitMQ that speaks TLS there (where it does not, write amqp://), and a client certificate if it wants one: " + tlsExample
	case errors.Is(err, amqpx.ErrConnect):
		return "Check that AMQP_URL or -url names a RabbitMQ that can be reached from here (where it speaks TLS, write amqps://)"
	}
	return ""
}

// entity finds what a refusal is about: `queue 'hello' in vhost '/'`.
var entity = regexp.MustCompile(`(queue|exchange) '(.+?)' in vhost '(.+?)'`)

// adviceOn follows the reply codes of https://www.rabbitmq.com/amqp-0-9-1-reference#constants.
func adviceOn(refusal *amqp.Error) string {
	kind, name, inVhost := "entity", "", "" // inVhost: rabbitmqctl's option for another than the default one
	if m := entity.FindStringSubmatch(refusal.Reason); m != nil {
		kind, name = m[1], m[2]
		if m[3] != "/" {
			inVhost = " -p " + m[3]
		}
	}
	switch {
	case refusal.Code == amqp.PreconditionFailed && kind == "queue":
		return fmt.Sprintf("The queue already exists with different arguments; if nobody needs it or its messages, delete it: make ctl ARGS='delete_queue%s %s'", inVhost, name)
	case refusal.Code == amqp.PreconditionFailed && kind == "exchange":
		return "The exchange already exists with different arguments; if nobody needs it, delete it in the console at http://localhost:15672/#/exchanges"
	case refusal.Code == amqp.ResourceLocked || strings.HasSuffix(refusal.Reason, "in exclusive use"): // as a queue, or by a consumer
		return fmt.Sprintf("Another connection uses the %s exclusively; stop that program first", kind)
	case refusal.Code == amqp.AccessRefused:
		return "Give the user the permission: make ctl ARGS='set_permissions" + inVhost + ` USER ".*" ".*" ".*"'`
	case refusal.Code == amqp.NotAllowed && strings.HasSuffix(refusal.Reason, "is reached"):
		return "The broker takes no more connections there: stop a program, or raise the limit"
	case refusal.Code == amqp.NotAllowed && strings.Contains(refusal.Reason, "not found"):
		return "Check the virtual host in AMQP_URL or -url, or create it: make ctl ARGS='add_vhost NAME'"
	case refusal.Code == amqp.NotAllowed:
		return "Check that the user may use the virtual host in AMQP_URL or -url"
	}
	return ""
}
