package main

import (
	"fmt"
	"math/big"
	"strconv"
)

// maxN bounds a request. The answer to it has 2,090 digits and takes a few
// milliseconds.
const maxN = 10_000

// parse reads a request: the decimal n. Its error is the answer to the client.
func parse(body []byte) (int, error) {
	n, err := strconv.Atoi(string(body[:min(len(body), 20)]))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%.20q is not a whole number that fits here", body)
	case n < 0:
		return 0, fmt.Errorf("n is %d; it must not be negative", n)
	case n > maxN || len(body) > 20:
		return 0, fmt.Errorf("n is too large; this server goes up to %d", maxN)
	}
	return n, nil
}

// fib returns the nth Fibonacci number, counting from fib(0) = 0.
func fib(n int) *big.Int {
	a, b := big.NewInt(0), big.NewInt(1)
	for range n {
		a.Add(a, b)
		a, b = b, a
	}
	return a
}
