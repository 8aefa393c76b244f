package program

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printf writes one line for the reader to stdout, in one piece. If it cannot be
// written, because the disk is full or the reader is gone, the process ends: a
// message that nobody saw must not be acknowledged.
func Printf(format string, args ...any) {
	if _, err := fmt.Fprintf(os.Stdout, format, args...); err != nil {
		log.Printf("cannot write to stdout: %v", err)
		os.Exit(1)
	}
}

// printable is for the logger: it escapes each of its lines.
type printable struct{ io.Writer }

func (w printable) Write(line []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, Printable(bytes.TrimSuffix(line, []byte("\n")))+"\n"); err != nil {
		return 0, err
	}
	return len(line), nil
}

// Printable returns text that came from elsewhere so that it cannot drive the
// terminal: control characters, the characters that reorder text, and bytes that
// are not UTF-8 are escaped as in a Go string.
func Printable(text []byte) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unicode.In(r, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp):
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.Write(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}
