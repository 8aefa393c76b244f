package main

import (
	"errors"
	"fmt"
	"math/big"

	amqp "github.com/rabbitmq/amqp091-go"
)

// maxDigits is how many digits fib(10000) has, the largest that a stage computes.
const maxDigits = 2090

// read returns what a message says, in words: a result or, with the reason as the error, what
// was refused.
func read(msg amqp.Delivery) (text string, err error) {
	if reason, refused := msg.Headers["error"].(string); refused {
		return fmt.Sprintf("no result for %.20q", msg.Body), errors.New(reason)
	}
	switch n := msg.Headers["n"].(type) {
	case int8, uint8, int16, uint16, int32, uint32, int64: // which one depends on the client that sent it
		if len(msg.Body) <= maxDigits { // more digits would take long
			if f, ok := new(big.Int).SetString(string(msg.Body), 10); ok {
				return fmt.Sprintf("fib(%d) = %s", n, f), nil
			}
		}
	}
	return fmt.Sprintf("%.20q", msg.Body), errors.New("neither a result with its n nor a refused number")
}

// ids remembers message ids: at least the last 100,000, at most 200,000.
type ids struct{ recent, older map[string]bool }

const generation = 100_000

// again reports whether the id came before, and remembers it. A message without an id is never a
// repeat.
func (seen *ids) again(id string) bool {
	if id == "" {
		return false
	}
	if seen.recent[id] || seen.older[id] {
		return true
	}
	if seen.recent == nil || len(seen.recent) == generation {
		seen.recent, seen.older = make(map[string]bool), seen.recent
	}
	seen.recent[id] = true
	return false
}
