// Package fib has the work of lessons 6 and 8: Fibonacci numbers.
package fib

import (
	"fmt"
	"math/big"
	"strconv"
)

// Max bounds n. The number has 2,090 digits and takes a few milliseconds.
const Max = 10_000

// Parse reads the body of a message: the decimal n. Its error tells the sender why there will
// be no number.
func Parse(body []byte) (int, error) {
	n, err := strconv.Atoi(string(body[:min(len(body), 20)]))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%.20q is not a whole number that fits here", body)
	case n < 0:
		return 0, fmt.Errorf("n is %d; it must not be negative", n)
	case n > Max || len(body) > 20:
		return 0, fmt.Errorf("n is too large; the largest here is %d", Max)
	}
	return n, nil
}

// Number returns the nth Fibonacci number, counting from 0: 0, 1, 1, 2, 3.
func Number(n int) *big.Int {
	a, b := big.NewInt(0), big.NewInt(1)
	for range n {
		a.Add(a, b)
		a, b = b, a
	}
	return a
}
