package program

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestTextFromElsewhereCannotDriveTheTerminal(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain text", "Hello World!", "Hello World!"},
		{"other scripts", "Zażółć 漢字 🐇", "Zażółć 漢字 🐇"},
		{"empty", "", ""},
		{"quotes and backslashes", `"a" 'b' \c`, `"a" 'b' \c`},
		{"the replacement character itself", "\uFFFD", "\uFFFD"},
		{"colour", "\x1b[31mred", `\x1b[31mred`},
		{"window title", "\x1b]0;title\x07", `\x1b]0;title\a`},
		{"line ends", "a\nb\r\nc", `a\nb\r\nc`},
		{"tab, backspace, NUL, DEL", "\t\b\x00\x7f", `\t\b\x00\x7f`},
		{"C1 control sequence introducer", "\u009b31m", `\u009b31m`},
		{"right-to-left override", "abc\u202etxt.exe", `abc\u202etxt.exe`},
		{"isolate and mark", "\u2066\u200f", `\u2066\u200f`},
		{"line and paragraph separator", "a\u2028b\u2029c", `a\u2028b\u2029c`},
		{"invalid UTF-8", "a\xff\xc3(b", `a\xff\xc3(b`},
		{"half a character at the end", "a\xe6\xbc", `a\xe6\xbc`},
		{"a surrogate in UTF-8", "\xed\xa0\x80", `\xed\xa0\x80`},
		{"raw C1 byte", "\x9b31m", `\x9b31m`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := escape(test.text); got != test.want {
				t.Errorf("escape(%q) = %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"Hello World!", "\x1b[2J", "\u202eabc", "\xff\xfe", "a\nb", "\u009b1m", "\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := escape(text)
		if !utf8.ValidString(got) {
			t.Errorf("escape(%q) = %q is not UTF-8", text, got)
		}
		drives := func(r rune) bool {
			return unicode.In(r, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
		}
		if i := strings.IndexFunc(got, drives); i >= 0 {
			t.Errorf("escape(%q) = %q has a control character at %d", text, got, i)
		}
		if utf8.ValidString(text) && strings.IndexFunc(text, drives) < 0 && got != text {
			t.Errorf("escape(%q) = %q changes a harmless text", text, got)
		}
		if utf8.RuneCountInString(got) < utf8.RuneCountInString(text) {
			t.Errorf("escape(%q) = %q leaves something out", text, got)
		}
	})
}
