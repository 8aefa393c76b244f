// Package readme compares the READMEs with what is in the repository, and runs their console blocks.
//
// A console block is a block "sh", typed as it stands, and right below it a block "text" with what is
// then to be seen. Without one, nothing is. Everything must be as the page has it, except for these:
//
//   - names and figures that the variable varying lists: the page shows an example;
//   - the port and the folder of the broker, which the page has as localhost:5672 and …/rabbitmq-tutorial;
//   - answers to calls (" [.]") that stand together, and the rows of a listing: they come in any order;
//   - the line that a program prints while its broker is away: it comes any number of times;
//   - which node of the cluster does what: the page has node 2 as the one that leads the queue;
//   - the reason that a program gives for a connection that a stopped broker has cut.
//
// The blocks of a section are typed one after another. A consumer goes on meanwhile. Where its output
// shows ^C, it gets a Ctrl+C when the section ends, or when the text names its terminal again ("Terminal 1:").
//
// "sh 3.10", "text 4" are for these versions of RabbitMQ only. A comment above a block, which GitHub
// does not show, says why a block is not run: <!-- not run: needs Docker -->.
package readme

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A page is a README.
type page struct{ name, text string }

// file returns the file that a link of the page leads to.
func (p page) file(link string) string { return path.Join(path.Dir(p.name), link) }

// pages returns README.md and the other READMEs, all of which it links.
func pages(t *testing.T) []page {
	t.Helper()
	front := page{"README.md", read(t, "README.md")}
	all := []page{front}
	for _, name := range found(t, `\]\(([\w/]+/README\.md)`, front.text) {
		all = append(all, page{name, read(t, name)})
	}
	return all
}

// found returns what the pattern's group matches in text, each match once. If there is none,
// the test fails, because it would check nothing.
func found(t *testing.T, pattern, text string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	if len(all) == 0 {
		t.Fatalf("nothing matches %s", pattern)
	}
	return slices.Compact(all)
}

func TestLinksLeadSomewhere(t *testing.T) {
	for _, p := range pages(t) {
		for _, link := range found(t, `\]\(([^):]+)\)`, p.text) { // only links within the repository
			name, anchor, _ := strings.Cut(link, "#")
			file := p.name
			if name != "" {
				file = p.file(name)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s: %v", p.name, err)
			} else if anchor != "" && !slices.Contains(anchors(t, read(t, file)), anchor) {
				t.Errorf("%s: %s has no heading #%s", p.name, file, anchor)
			}
		}
	}
}

// anchors returns the names that GitHub gives to the headings of a text.
func anchors(t *testing.T, text string) (names []string) {
	for _, heading := range found(t, `(?m)^#+ (.*)$`, text) {
		name := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

func TestProgramsExist(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile(`go run \./((?:cmd|internal)/[\w/]+)`).FindAllStringSubmatch(p.text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1], "main.go")); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
	}
}

func TestMakeTargetsExist(t *testing.T) {
	for _, p := range pages(t) {
		// Either in a line of its own or in backquotes: "make sure" is no target.
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(p.text, -1) {
			if out, err := exec.Command("make", "-C", root, "-n", m[1]).CombinedOutput(); err != nil {
				t.Errorf("%s: make %s: %s", p.name, m[1], out)
			}
		}
	}
}

func TestProofsExist(t *testing.T) {
	var tests strings.Builder
	for _, pattern := range []string{"cmd/*/*_test.go", "internal/*/*_test.go", "internal/test/*/*_test.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			tests.WriteString(read(t, strings.TrimPrefix(file, root)))
		}
	}
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(p.text, -1) {
			if !strings.Contains(tests.String(), "func "+m[1]+"(t *testing.T)") {
				t.Errorf("%s: there is no %s", p.name, m[1])
			}
		}
	}
}

// A block of Go is a part of the file that the text linked to last. A block that begins a
// package is the whole file.
func TestGoBlocksStandInTheirFiles(t *testing.T) {
	indent := regexp.MustCompile(`(?m)^[ \t]+`)
	for _, p := range pages(t) {
		source := ""
		for _, m := range regexp.MustCompile("(?s)\\]\\(([\\w/.]+\\.go)\\)|```go\n(.*?)```").FindAllStringSubmatch(p.text, -1) {
			block := m[2]
			switch {
			case m[1] != "":
				source = p.file(m[1])
			case strings.Contains(block, "\npackage "):
				if block != read(t, source) {
					t.Errorf("%s: the block is not %s", p.name, source)
				}
			case !strings.Contains(indent.ReplaceAllString(read(t, source), ""), indent.ReplaceAllString(block, "")):
				t.Errorf("%s: %s does not have these lines:\n%s", p.name, source, block)
			}
		}
	}
}

// Each lesson prints a program whole, except the one that runs the others' programs.
func TestEachLessonPrintsAProgram(t *testing.T) {
	lessons := strings.Split(read(t, "README.md"), "\n## Lesson ")[1:]
	for _, lesson := range lessons {
		if !strings.Contains(lesson, "\npackage ") && !strings.HasPrefix(lesson, "10:") {
			t.Errorf("there is no whole program in lesson %.20s", lesson)
		}
	}
	if len(lessons) == 0 {
		t.Error("no lesson found")
	}
}

// A beginner reads README.md from top to bottom: it stays short, and its first lesson begins soon.
func TestTheFrontPageStaysShort(t *testing.T) {
	text := read(t, "README.md")
	before, _, _ := strings.Cut(text, "\n## Lesson 1")
	if line := strings.Count(before, "\n") + 2; line >= 90 {
		t.Errorf("lesson 1 begins in line %d", line)
	}
	prose := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	first, later, _ := strings.Cut(prose, "\n## Lesson 8")
	later, frame, _ := strings.Cut(later, "\n## What all programs share")
	if words := len(strings.Fields(first + frame)); words > 5000 { // as wc -w counts
		t.Errorf("%d words outside the code blocks, without lessons 8 to 10", words)
	}
	if words := len(strings.Fields(later)); words > 1650 {
		t.Errorf("%d words outside the code blocks in lessons 8 to 10", words)
	}
}
