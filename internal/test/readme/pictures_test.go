package readme

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// A page must load quickly, and say in words what its pictures show.
func TestPicturesAreSmallAndDescribed(t *testing.T) {
	limits := map[string]int64{".png": 60_000, ".svg": 300_000}
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile(`!\[(.*?)\]\((.+?)\)`).FindAllStringSubmatch(p.text, -1) {
			info, err := os.Stat(filepath.Join(root, p.file(m[2])))
			if err != nil {
				t.Error(err)
			} else if limit := limits[filepath.Ext(m[2])]; info.Size() >= limit {
				t.Errorf("%s has %d bytes, and must have less than %d", m[2], info.Size(), limit)
			}
			if len(m[1]) < 30 {
				t.Errorf("%s: %q does not say what %s shows", p.name, m[1], m[2])
			}
		}
	}
}

// In all diagrams of what leads where, a program looks like a program, and a queue like a queue.
func TestDiagramsSpeakOneLanguage(t *testing.T) {
	for _, p := range pages(t) {
		var first []string
		for _, m := range regexp.MustCompile("(?s)```mermaid\nflowchart(.*?)```").FindAllStringSubmatch(p.text, -1) {
			classes := append(found(t, `(?m)^ +(classDef .*)$`, m[1]), found(t, `^( .*)\n`, m[1])...) // and the direction
			if first == nil {
				first = classes
			}
			if !slices.Equal(classes, first) {
				t.Errorf("%s: this diagram does not have the colours of the first:\n%s", p.name, m[1])
			}
		}
	}
}
