// Recording runs the demo of lesson 2 and turns what it prints into an animated SVG, for the top of README.md.
// `make recording` runs it.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// A line is a line that the program printed, and when.
type line struct {
	text string
	at   time.Duration // since the first line
}

func main() {
	log.SetFlags(0)
	lines, err := record(exec.Command(".bin/demo", "workqueue"))
	if err == nil {
		err = os.WriteFile("scripts/demo/workqueue.svg", draw(lines), 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// record runs the program, shows what it prints, and keeps it.
func record(cmd *exec.Cmd) (lines []line, err error) {
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	var start time.Time
	scanner := bufio.NewScanner(stdout)
	for scanner.Scan() {
		fmt.Println(scanner.Text())
		if scanner.Text() == "" && len(lines) == 0 {
			continue // an animation does not begin with an empty line
		}
		if len(lines) == 0 {
			start = time.Now()
		}
		lines = append(lines, line{scanner.Text(), time.Since(start)})
	}
	return lines, errors.Join(scanner.Err(), cmd.Wait())
}

const (
	columns, rows = 104, 24
	charWidth     = 8.0 // in pixels, like the next two
	lineHeight    = 19
	margin        = 16

	lastScreen = 6 * time.Second // how long it stays, before the animation begins again
)

// draw writes all lines below one another, behind a window of some rows. The animation moves them up, so
// that the newest line is the last one in the window. Without motion, the window shows the end.
func draw(lines []line) []byte {
	var out bytes.Buffer
	width, height := columns*charWidth+2*margin, rows*lineHeight+2*margin
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" role="img">
<title>make demo-workqueue</title>
<style>
svg { --paper: #f6f8fa; --ink: #1f2328; --faint: #59636e; --one: #0550ae; --two: #953800; --three: #8250df; --good: #1a7f37; --bad: #cf222e }
@media (prefers-color-scheme: dark) {
  svg { --paper: #161b22; --ink: #e6edf3; --faint: #9198a1; --one: #79c0ff; --two: #ffa657; --three: #d2a8ff; --good: #56d364; --bad: #ff7b72 }
}
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--ink); white-space: pre }
.title { font-weight: bold } .faint { fill: var(--faint) } .good { fill: var(--good) } .bad { fill: var(--bad) }
.one { fill: var(--one) } .two { fill: var(--two) } .three { fill: var(--three) }
@keyframes scroll {
`, width, height)

	shown, at := moments(lines)
	end := at[len(at)-1] + lastScreen
	offset := func(n int) int { return margin + (rows-n)*lineHeight }
	for i, n := range shown {
		fmt.Fprintf(&out, "%.2f%% { transform: translateY(%dpx) }\n", 100*at[i].Seconds()/end.Seconds(), offset(n))
	}
	last := offset(len(lines))
	fmt.Fprintf(&out, `100%% { transform: translateY(%dpx) }
}
#lines { transform: translateY(%dpx); animation: scroll %.1fs step-end infinite }
@media (prefers-reduced-motion: reduce) { #lines { animation: none } }
</style>
<clipPath id="window"><rect x="%d" y="%d" width="%.0f" height="%d"/></clipPath>
<rect width="%.0f" height="%d" rx="8" style="fill: var(--paper)"/>
<g clip-path="url(#window)"><g id="lines">
`, last, last, end.Seconds(), margin, margin, columns*charWidth, rows*lineHeight, width, height)
	for i, l := range lines {
		if l.text == "" {
			continue
		}
		fmt.Fprintf(&out, `<text x="%d" y="%d" textLength="%.0f">`, margin, i*lineHeight+14, charWidth*float64(utf8.RuneCountInString(l.text)))
		for _, s := range spans(l.text) {
			fmt.Fprintf(&out, `<tspan class="%s">`, s.class)
			xml.EscapeText(&out, []byte(s.text))
			out.WriteString("</tspan>")
		}
		out.WriteString("</text>\n")
	}
	out.WriteString("</g></g>\n</svg>\n")
	return out.Bytes()
}

// moments returns the times at which the screen changes, and how many lines there are from then on. Lines that
// came within 50 ms are shown together.
func moments(lines []line) (shown []int, at []time.Duration) {
	for i, l := range lines {
		if i == 0 || l.at-at[len(at)-1] >= 50*time.Millisecond {
			shown, at = append(shown, 0), append(at, l.at)
		}
		shown[len(shown)-1] = i + 1
	}
	return shown, at
}

type span struct{ class, text string }

var labelled = regexp.MustCompile(`^([a-z]\S*) *│`)

// spans gives each program and each kind of line its colour, as the demo does in a terminal.
func spans(text string) []span {
	if m := labelled.FindStringSubmatch(text); m != nil {
		class := cmp.Or(map[string]string{"worker-1": "one", "worker-2": "two"}[m[1]], "three")
		label, rest := m[0], text[len(m[0]):]
		switch {
		case strings.HasPrefix(rest, " $ "): // a command
			return []span{{class, label}, {"faint", rest}}
		case strings.Contains(rest, "killed"): // kill -9
			return []span{{class, label}, {"bad", rest}}
		case strings.Contains(rest, "█"): // a timeline, in the worker's colour
			return []span{{class, text}}
		}
		return []span{{class, label}, {"", rest}}
	}
	if rest, ok := strings.CutPrefix(text, "✓ "); ok {
		return []span{{"good", "✓ "}, {"", rest}}
	}
	return []span{{"title", text}}
}
