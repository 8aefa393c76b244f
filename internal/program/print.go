package program

import (
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printf prints one line for the reader, in one write, and escapes what must not reach a
// terminal. If it cannot write the line, because the disk is full or the reader is gone, it
// ends the process: a message that nobody saw must not be acknowledged.
func Printf(format string, args ...any) {
	if _, err := io.WriteString(os.Stdout, escape(fmt.Sprintf(format, args...))+"\n"); err != nil {
		log.Printf("cannot write to stdout: %v", err)
		os.Exit(1)
	}
}

// printable escapes each line that the logger writes.
type printable struct{ io.Writer }

func (w printable) Write(line []byte) (int, error) {
	_, err := io.WriteString(w.Writer, escape(strings.TrimSuffix(string(line), "\n"))+"\n")
	return len(line), err
}

// escape escapes, as in a Go string, whatever could drive a terminal: control characters,
// characters that reorder text, and bytes that are not UTF-8.
func escape(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unicode.In(r, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp):
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}
