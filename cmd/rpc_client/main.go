// Rpc_client asks an rpc_server for Fibonacci numbers.
//
// It is the client of lesson 6. It makes all its calls at once and prints each answer as
// it arrives. A call, in client.go, consists of:
//
//   - a request. The client declares rpc_queue, durable and of type quorum, and publishes to it
//     through the default exchange: not persistent, not mandatory, not confirmed. The request
//     expires at the call's deadline;
//   - an answer. All calls share one queue for their answers: exclusive, named by the broker,
//     not durable, classic. The client consumes from it with automatic acknowledgement, for which
//     there is no prefetch. The correlation id tells which call an answer is for.
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rabbitmq-tutorial/internal/program"
)

type caller struct{ timeout time.Duration }

func main() {
	var c caller
	p := program.New(program.Usage{
		Purpose: "Asks an rpc_server for Fibonacci numbers, all at once.",
		Args:    "[N...]",
		Example: "go run ./cmd/rpc_client 10 20 30",
	})
	p.DurationVar(&c.timeout, "timeout", 5*time.Second, "the `time` to wait for the answers")
	p.Main(c.run)
}

func (c *caller) run(ctx context.Context, url string, args []string) error {
	numbers, err := program.Numbers(args)
	if err != nil {
		return err
	}
	if c.timeout <= 0 {
		return program.Usagef("-timeout must be more than 0")
	}
	client := NewClient(ctx, url)
	defer client.Close()

	// A remote call can fail in ways that a local one cannot. Always give it a deadline.
	errNoAnswer := fmt.Errorf("no answer within %v", c.timeout)
	callCtx, cancel := context.WithTimeoutCause(ctx, c.timeout, errNoAnswer)
	defer cancel()
	failures := make(chan failure, len(numbers))
	var calls sync.WaitGroup
	for _, n := range numbers {
		program.Printf(" [x] Requesting fib(%d)", n)
		calls.Go(func() {
			if result, err := client.Call(callCtx, n); err != nil {
				failures <- failure{n, err}
			} else {
				program.Printf(" [.] Got %s", result)
			}
		})
	}
	calls.Wait()
	close(failures)
	err = printFailures(failures)
	if errors.Is(err, errNoAnswer) {
		return fmt.Errorf("%w. %s", err, describeServers(ctx, url))
	}
	return err
}
