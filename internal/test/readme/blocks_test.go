package readme

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A block is a console block: what is typed in one terminal, and what is then to be seen there.
type block struct {
	terminal string // the number that the text before the block names, or ""
	version  string // of RabbitMQ, if the block is for one version only: "3.10", "4"
	marked   string // why it is not run, as the page says
	commands string
	outputs  []*output // the last one is empty: it is for a version for which the page shows none
}

type output struct {
	version, text string
	file          string
	first, end    int // its lines in the file
}

// A section is what stands under one heading. Its terminals belong together.
type section struct {
	name   string
	lesson int // the lesson that its reader has reached
	blocks []*block
}

var (
	headings  = regexp.MustCompile(`^#{1,6} (.*)\n`)
	lessons   = regexp.MustCompile(`^## Lesson (\d+)`)
	terminals = regexp.MustCompile(`(?i)terminal (\d)`)
	labels    = regexp.MustCompile(`^(\nRabbitMQ [\d.]+:\n\n)?$`)
	marks     = regexp.MustCompile(`<!-- not run: (.*) -->\n$`)
)

// sections returns the sections of a page whose reader has reached a lesson.
func (p page) sections(t *testing.T, lesson int) (all []*section) {
	lines := strings.SplitAfter(p.text, "\n")
	before, prose := "", "" // the language of the block before, and the text since then
	for i := 0; i < len(lines); i++ {
		fence, isFence := strings.CutPrefix(lines[i], "```")
		if !isFence {
			if m := lessons.FindStringSubmatch(lines[i]); m != nil {
				lesson, _ = strconv.Atoi(m[1])
			}
			if m := headings.FindStringSubmatch(lines[i]); m != nil {
				all = append(all, &section{name: p.name + "/" + m[1], lesson: lesson})
			}
			prose += lines[i]
			continue
		}
		first := i + 1
		for i++; lines[i] != "```\n"; i++ {
		}
		text := strings.Join(lines[first:i], "")
		language, version, _ := strings.Cut(strings.TrimSpace(fence), " ")
		s := all[len(all)-1]
		switch language {
		case "sh":
			b := &block{version: version, commands: text, outputs: []*output{{file: p.name, first: i + 1, end: i + 1}}}
			if named := terminals.FindAllStringSubmatch(prose, -1); named != nil {
				b.terminal = named[len(named)-1][1]
			}
			if m := marks.FindStringSubmatch(prose); m != nil {
				b.marked = m[1]
			}
			s.blocks = append(s.blocks, b)
		case "text":
			if before != "sh" && before != language || !labels.MatchString(prose) {
				t.Fatalf("%s:%d: this output does not stand right below its commands", p.name, first)
			}
			b := s.blocks[len(s.blocks)-1]
			b.outputs = slices.Insert(b.outputs, len(b.outputs)-1, &output{version, text, p.name, first, i})
		case "go", "mermaid":
		default:
			t.Errorf("%s:%d: a block of %q is neither sh, text, go nor mermaid", p.name, first, language)
		}
		before, prose = language, ""
	}
	return all
}

// isFor reports whether what is for a version of RabbitMQ, such as "3.10", is for the running one.
func isFor(version, running string) bool {
	return version == "" || strings.HasPrefix(running+".", version+".")
}

// notRun says why the block is not run, if so.
func (b *block) notRun(running string) string {
	if b.marked == "" && !isFor(b.version, running) {
		return "for another version of RabbitMQ"
	}
	return b.marked
}

// output returns what the page says that the block prints.
func (b *block) output(running string) *output {
	return b.outputs[slices.IndexFunc(b.outputs, func(o *output) bool { return isFor(o.version, running) })]
}

// varying is what differs from run to run. The page shows an example of it.
var varying = map[string]*regexp.Regexp{
	"amq.gen-NAME":                         regexp.MustCompile(`amq\.gen-[\w-]{22}`),
	"RabbitMQ VERSION":                     regexp.MustCompile(`RabbitMQ \d+\.\d+\.\d+`),
	"tutorial-N@":                          regexp.MustCompile(`tutorial-\d@`),
	"killing tutorial-N":                   regexp.MustCompile(`killing tutorial-\d`),
	"connected again, to localhost:PORT":   regexp.MustCompile(`connected again, to localhost:567\d`),
	"connection lost: REASON;":             regexp.MustCompile(`connection lost: (EOF|(read|write) tcp .*|CONNECTION_FORCED .*'shutdown');`),
	"COUNT times in a second":              regexp.MustCompile(`\d{2,} times in a second`),
	"TIME s, RATE messages/s, RATIO times": regexp.MustCompile(`\d+\.\d\d s, \d+ messages/s, \d+\.\d times`),
}

// notYet is the line that a program prints while its broker is away, once or several times or not at all.
const notYet = " [!] connect to amqp://localhost:5672/: dial tcp 127.0.0.1:5672: connect: connection refused; connecting again"

// comparable returns the lines of a transcript without what may differ from run to run.
func comparable(text string) (lines []string) {
	for name, pattern := range varying {
		text = pattern.ReplaceAllString(text, name)
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line != notYet {
			lines = append(lines, line)
		}
	}
	// Calls that are made at once are answered in any order, and rabbitmqctl lists in any order.
	for _, mark := range []string{" [.]", "\t"} {
		for i, n := 0, 0; i < len(lines); i = n + 1 {
			for n = i; n < len(lines) && strings.Contains(lines[n], mark); n++ {
			}
			slices.Sort(lines[i:n])
		}
	}
	return lines
}

// write writes what was seen into the pages. What differs only in what varies stays as it is.
func write(t *testing.T, seen map[*output]string) {
	var outputs []*output
	for o := range seen {
		if !slices.Equal(comparable(seen[o]), comparable(o.text)) {
			outputs = append(outputs, o)
		}
	}
	slices.SortFunc(outputs, func(a, b *output) int { return cmp.Compare(b.first, a.first) }) // the last first: lines above stay where they are
	for _, o := range outputs {
		var now []string
		shown := slices.Collect(strings.Lines(o.text))
		for line := range strings.Lines(seen[o]) {
			like := func(example string) bool { return slices.Equal(comparable(example), comparable(line)) }
			if i := slices.IndexFunc(shown, like); i >= 0 {
				line, shown = shown[i], shown[i+1:]
			}
			now = append(now, strings.TrimSuffix(line, "\n")+"\n") // a program may end without it
		}
		if o.text == "" {
			now = slices.Concat([]string{"```text\n"}, now, []string{"```\n"})
		}
		lines := slices.Replace(strings.SplitAfter(read(t, o.file), "\n"), o.first, o.end, now...)
		check(t, os.WriteFile(filepath.Join(root, o.file), []byte(strings.Join(lines, "")), 0o644))
	}
}

// lessonsUntil returns how far a reader has come who follows the first link to a page: after the lesson that has it.
func lessonsUntil(front, page string) int {
	before, _, linked := strings.Cut(front, "]("+page)
	if !linked {
		return 0
	}
	return strings.Count(before, "\n## Lesson ") + 1
}
