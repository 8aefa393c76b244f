package program

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNumberOfArguments(t *testing.T) {
	for _, test := range []struct {
		usage string
		given []string
		err   string // "" for none
	}{
		{"", nil, ""},
		{"", []string{"one"}, "no arguments"},
		{"", []string{""}, "no arguments"},
		{"", []string{"--", "-h"}, "no arguments"},
		{"[WORD...]", nil, ""},
		{"[WORD...]", []string{"one", "two"}, ""},
		{"[WORD...]", []string{"--", "-not-a-flag"}, ""},
		{"[SEVERITY [WORD...]]", nil, ""},
		{"SEVERITY...", nil, "missing argument: SEVERITY..."},
		{"SEVERITY...", []string{"--"}, "missing argument: SEVERITY..."},
		{"SEVERITY...", []string{""}, ""},
		{"SEVERITY...", []string{"one", "two"}, ""},
		{"[WORD...]", []string{"-unknown"}, "not defined: -unknown"},
		{"[WORD...]", []string{"-url"}, "needs an argument"},
	} {
		t.Run(test.usage+"<"+strings.Join(test.given, ","), func(t *testing.T) {
			t.Parallel()
			err := New(Usage{Args: test.usage}).parse(test.given)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("parse(%q) = %v, want %q", test.given, err, test.err)
			}
		})
	}
}

// Package flag says only "parse error".
func TestWrongValueTellsWhatIsWanted(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"-n=10,000": "like 50", "-unit=5": "like 1s", "-unit=": "like 1s", "-n=1e3": "like 50", "-b=maybe": "like false"} {
		p := New(Usage{})
		p.Int("n", 50, "")
		p.Duration("unit", time.Second, "")
		p.Bool("b", false, "")
		if err := p.parse([]string{given}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", given, err, want)
		}
	}
}

// A URL that was meant for -url may hold a password.
func TestUnexpectedArgumentIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"amqp://user:secret@localhost/"}, {"-prefetch", "amqp://user:secret@localhost/"}} {
		p := New(Usage{})
		p.PrefetchVar(new(int), 1, "")
		if err := p.parse(args); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("parse(%q) = %v", args, err)
		}
	}
}

func TestTheFlagWinsOverTheEnvironment(t *testing.T) { // not parallel: it sets the environment
	for _, test := range []struct{ env, flag, want string }{
		{"", "", "amqp://guest:guest@localhost:5672/"},
		{"amqp://env/", "", "amqp://env/"},
		{"", "amqp://flag/", "amqp://flag/"},
		{"amqp://env/", "amqp://flag/", "amqp://flag/"},
	} {
		t.Setenv("AMQP_URL", test.env)
		var args []string
		if test.flag != "" {
			args = []string{"-url", test.flag}
		}
		p := New(Usage{})
		if err := p.parse(args); err != nil || p.url != test.want {
			t.Errorf("AMQP_URL=%q -url %q: %q, %v, want %q", test.env, test.flag, p.url, err, test.want)
		}
	}
}

func TestPrefetchIsACount(t *testing.T) {
	for _, test := range []struct {
		given string
		want  int // -1: refused
	}{
		{"0", 0}, {"1", 1}, {"250", 250}, {"65535", 65535}, {"007", 7},
		{"65536", -1}, {"-1", -1}, {"", -1}, {"1.5", -1}, {"many", -1}, {"1e3", -1}, {"0x10", -1},
		{"99999999999999999999", -1},
	} {
		t.Run(test.given, func(t *testing.T) {
			t.Parallel()
			p := New(Usage{})
			var prefetch int
			p.PrefetchVar(&prefetch, 3, "how many")
			err := p.parse([]string{"-prefetch", test.given})
			switch {
			case test.want < 0 && (err == nil || prefetch != 3):
				t.Errorf("-prefetch %q is taken as %d, %v", test.given, prefetch, err)
			case test.want < 0 && !strings.Contains(err.Error(), "0 to 65535"):
				t.Errorf("-prefetch %q: %v; want the range", test.given, err)
			case test.want >= 0 && (err != nil || prefetch != test.want):
				t.Errorf("-prefetch %q = %d, %v", test.given, prefetch, err)
			}
		})
	}

	t.Run("left out", func(t *testing.T) {
		t.Parallel()
		p := New(Usage{})
		var prefetch int
		p.PrefetchVar(&prefetch, 3, "how many")
		if err := p.parse(nil); err != nil || prefetch != 3 {
			t.Errorf("no -prefetch: %d, %v", prefetch, err)
		}
	})
}

func TestRoutingKeysHaveAtMost255Bytes(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("k", 255)
	if err := CheckKeys("", "info", longest); err != nil {
		t.Errorf("keys up to 255 bytes: %v", err)
	}
	// The limit is in bytes: this is 128 characters.
	for _, key := range []string{longest + "k", strings.Repeat("ż", 128)} {
		err := CheckKeys("info", key)
		var usage errUsage
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "256 bytes") {
			t.Errorf("a key of %d bytes: %v", len(key), err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}
