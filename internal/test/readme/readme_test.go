// Package readme holds README.md to what is in the repository.
package readme

import (
	"os"
	"os/exec"
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

// found returns what the pattern's group matches in text, each once. That the
// pattern matches nothing is a failure: it would check nothing.
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

func TestProgramsAndFilesExist(t *testing.T) {
	text := read(t, "README.md")
	names := found(t, `\]\(([^)#:]+)\)`, text) // links within the repository
	for _, program := range found(t, `go run (\./cmd/\w+)`, text) {
		names = append(names, program+"/main.go")
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestMakeTargetsExist(t *testing.T) {
	// Either in a line of its own or in backquotes: "make sure" is no target.
	for _, target := range found(t, "(?m)(?:^|`|BROKER=\\w+ )make ([a-z-]+)", read(t, "README.md")) {
		if out, err := exec.Command("make", "-C", root, "-n", target).CombinedOutput(); err != nil {
			t.Errorf("make %s: %s", target, out)
		}
	}
}

func TestProofsExist(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "internal", "test", "*", "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, file := range files {
		tests.WriteString(read(t, strings.TrimPrefix(file, root)))
	}
	for _, name := range found(t, "`(Test\\w+)`", read(t, "README.md")) {
		if !strings.Contains(tests.String(), "func "+name+"(t *testing.T)") {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestAnchorsExist(t *testing.T) {
	text := read(t, "README.md")
	var anchors []string
	for _, heading := range found(t, `(?m)^#+ (.*)$`, text) {
		anchor := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	for _, link := range found(t, `\]\(#([^)]+)\)`, text) {
		if !slices.Contains(anchors, link) {
			t.Errorf("no heading for the link #%s", link)
		}
	}
}

// An excerpt belongs to the program that was linked to last.
func TestExcerptsStandInThePrograms(t *testing.T) {
	indent := regexp.MustCompile(`(?m)^[ \t]+`)
	source := ""
	for _, m := range regexp.MustCompile("(?s)\\]\\(((?:cmd|internal)/\\w+/\\w+\\.go)\\)|```go\n(.*?)```").FindAllStringSubmatch(read(t, "README.md"), -1) {
		if m[1] != "" {
			source = m[1]
			continue
		}
		if !strings.Contains(indent.ReplaceAllString(read(t, source), ""), indent.ReplaceAllString(m[2], "")) {
			t.Errorf("%s does not have these lines:\n%s", source, m[2])
		}
	}
	if source == "" {
		t.Error("no excerpt found")
	}
}
