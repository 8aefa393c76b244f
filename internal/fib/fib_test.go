package fib

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnlyWholeNumbersInRangeAreParsed(t *testing.T) {
	for _, test := range []struct {
		body string
		n    int
		err  string // "" for none
	}{
		{"0", 0, ""},
		{"30", 30, ""},
		{"007", 7, ""},
		{"+7", 7, ""},
		{"10000", 10000, ""},
		{"00000000000000000030", 30, ""}, // 20 bytes, the most that is looked at
		{"10001", 0, "too large; the largest here is 10000"},
		{"000000000000000000030", 0, "too large"},
		{"99999999999999999999", 0, "not a whole number that fits"},
		{"1" + strings.Repeat("0", 1<<20), 0, "not a whole number that fits"},
		{"-1", 0, "must not be negative"},
		{"-99999999999999999999", 0, "not a whole number"},
		{"", 0, `"" is not a whole number`},
		{" 5", 0, "not a whole number"},
		{"5\n", 0, "not a whole number"},
		{"1_000", 0, "not a whole number"},
		{"0x10", 0, "not a whole number"},
		{"1e3", 0, "not a whole number"},
		{"3.0", 0, "not a whole number"},
		{"٣", 0, "not a whole number"},
		{"thirty", 0, `"thirty" is not a whole number`},
		{"\x1b[2J", 0, `"\x1b[2J" is not a whole number`},
	} {
		t.Run(test.body[:min(len(test.body), 24)], func(t *testing.T) {
			t.Parallel()
			n, err := Parse([]byte(test.body))
			switch {
			case test.err == "" && (n != test.n || err != nil):
				t.Errorf("Parse = %d, %v, want %d", n, err, test.n)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("Parse = %d, %v, want %s", n, err, test.err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"30", "-1", "", "10001", "00000000000000000030", "9223372036854775808", "\x1b[2J", "\xff", "5 "} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := Parse(body)
		if err != nil {
			text := err.Error()
			if len(text) > 400 || !utf8.ValidString(text) || strings.IndexFunc(text, unicode.IsControl) >= 0 {
				t.Errorf("Parse(%q) = %q, which nobody can read", body, text)
			}
			return
		}
		digits := strings.TrimLeft(strings.TrimLeft(string(body), "+-"), "0")
		if n < 0 || n > Max || digits != strings.TrimLeft(strconv.Itoa(n), "0") {
			t.Errorf("Parse(%q) = %d", body, n)
		}
	})
}

func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{
		0: "0", 1: "1", 2: "1", 3: "2", 10: "55", 30: "832040",
		92:  "7540113804746346429",  // the last that fits 63 bits
		93:  "12200160415121876738", // 64 bits
		94:  "19740274219868223167",
		100: "354224848179261915075",
	} {
		if got := Number(n).String(); got != want {
			t.Errorf("Number(%d) = %s, want %s", n, got, want)
		}
	}
	if digits := len(Number(Max).String()); digits != 2090 {
		t.Errorf("fib(%d) has %d digits; the comment on Max says 2,090", Max, digits)
	}
}
