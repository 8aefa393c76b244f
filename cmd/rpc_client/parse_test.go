package main

import (
	"math/big"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestOnlyANumberIsAnAnswer(t *testing.T) {
	for _, test := range []struct {
		kind, body string
		result     string // "" for an error
		err        string
	}{
		{"", "832040", "832040", ""},
		{"", "0", "0", ""},
		{"", strings.Repeat("9", 2090), strings.Repeat("9", 2090), ""},
		{"error", "n is -1; it must not be negative", "", "the server refused: n is -1; it must not be negative"},
		{"error", "\x1b[2J\nred", "", "the server refused: \x1b[2J\nred"},
		{"", "", "", `the answer is not a number: ""`},
		{"", "55\n", "", `the answer is not a number: "55\n"`},
		{"", "0x10", "", `the answer is not a number: "0x10"`},
		{"", "1_000", "", `the answer is not a number: "1_000"`},
		{"", strings.Repeat("x", 1<<20), "", `the answer is not a number: "xxxxxxxxxxxxxxxxxxxx"`},
	} {
		result, err := parse(amqp.Delivery{Type: test.kind, Body: []byte(test.body)})
		switch {
		case test.result != "" && (err != nil || result.String() != test.result):
			t.Errorf("parse(%.30q) = %v, %v", test.body, result, err)
		case test.result == "" && (err == nil || err.Error() != test.err):
			t.Errorf("parse(%.30q) = %v, %v, want %s", test.body, result, err, test.err)
		}
	}
}

// Anybody who knows the name of the queue can send an answer.
func FuzzParseAnswer(f *testing.F) {
	for _, body := range []string{"832040", "-1", "", "1e3", "\x1b[2J", "\xff", "9 "} {
		f.Add("", []byte(body))
		f.Add("error", []byte(body))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		result, err := parse(amqp.Delivery{Type: kind, Body: body})
		if (result == nil) == (err == nil) {
			t.Fatalf("parse(%q, %q) = %v, %v", kind, body, result, err)
		}
		if err != nil {
			return
		}
		digits := strings.TrimLeft(string(body), "+-")
		again, ok := new(big.Int).SetString(digits, 10)
		if !ok || again.CmpAbs(result) != 0 || strings.Trim(digits, "0123456789") != "" {
			t.Errorf("parse(%q, %q) = %v", kind, body, result)
		}
	})
}
