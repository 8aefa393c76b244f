// Rpc_client asks an rpc_server for Fibonacci numbers.
//
// It is the client of lesson 6. It makes all its calls at once and prints each
// answer as it arrives; client.go beside this file shows how a call becomes a
// message, and a message an answer.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strconv"
	"time"

	"rabbitmq-tutorial/internal/program"
)

func main() {
	p := program.New("Asks an rpc_server for Fibonacci numbers, all at once.",
		"[N...]", "go run ./cmd/rpc_client 10 20 30")
	timeout := p.Duration("timeout", 5*time.Second, "the `time` to wait for the answers")

	p.Main(func(ctx context.Context, url string, args []string) error {
		if len(args) == 0 {
			args = []string{"30"}
		}
		numbers := make([]int, len(args))
		for i, arg := range args {
			n, err := strconv.Atoi(arg)
			if err != nil {
				return program.Usagef("argument %d is not a whole number that fits here", i+1)
			}
			numbers[i] = n
		}
		if *timeout <= 0 {
			return program.Usagef("-timeout must be more than 0")
		}

		client := NewClient(ctx, url)
		defer client.Close()

		// A call over the network can fail in ways that a function cannot. Give it a
		// deadline, always, and say what is known when it has passed.
		ctx, cancel := context.WithTimeoutCause(ctx, *timeout,
			fmt.Errorf("no answer within %v. Is a server running? (go run ./cmd/rpc_server)", *timeout))
		defer cancel()

		done := make(chan *Call, len(numbers))
		for _, n := range numbers {
			program.Printf(" [x] Requesting fib(%d)\n", n)
			client.Go(ctx, n, done)
		}
		var failed error
		for range numbers {
			call := <-done
			switch {
			case call.Err == nil:
				program.Printf(" [.] Got %s\n", call.Result)
			case failed == nil:
				failed = fmt.Errorf("fib(%d): %w", call.N, call.Err)
			case !errors.Is(failed, call.Err): // a lost connection fails all calls alike
				log.Print(failed)
				failed = fmt.Errorf("fib(%d): %w", call.N, call.Err)
			}
		}
		return failed
	})
}
