package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A plot is a file with two panels side by side. Their horizontal axis is logarithmic.
type plot struct {
	file, key string   // of the series "Growth/KEY=X/..."
	columns   []string // the units in the table; the first two have a panel
}

var plots = []plot{
	{"messages.svg", "messages", []string{"msg/s", "peak-MiB"}},
	{"bytes.svg", "bytes", []string{"msg/s", "peak-MiB", "µs/msg"}},
	{"publishers.svg", "publishers", []string{"msg/s", "peak-MiB", "µs/msg"}},
	{"sessions.svg", "sessions", []string{"ms/session", "kB/session", "goroutines/session"}},
}

const (
	panelWidth, panelHeight  = 380, 260
	left, right, top, bottom = 64, 364, 40, 220 // the axes of a panel
)

// The style follows the reader's: light or dark.
const style = `<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .grid { stroke: #d1d9e0 }
.end { text-anchor: end } .middle { text-anchor: middle }
polyline { fill: none; stroke-width: 2 }
.s0 { stroke: #0969da } .s1 { stroke: #bc4c00 } .s2 { stroke: #1a7f37 }
text.s0 { fill: #0969da; stroke: none } text.s1 { fill: #bc4c00; stroke: none } text.s2 { fill: #1a7f37; stroke: none }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .grid { stroke: #3d444d }
.s0 { stroke: #4493f8 } .s1 { stroke: #db6d28 } .s2 { stroke: #3fb950 }
text.s0 { fill: #4493f8 } text.s1 { fill: #db6d28 } text.s2 { fill: #3fb950 }
}
</style>
`

type point struct{ x, y float64 }

// draw returns the plot as SVG, or "" if nothing was measured for it.
func (r *results) draw(p plot) string {
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d">`+"\n<title>Growth with %s</title>\n%s",
		2*panelWidth, panelHeight, p.key, style)
	for i, unit := range p.columns[:2] {
		names, lines := r.lines(p.key, unit)
		if len(names) == 0 {
			return ""
		}
		fmt.Fprintf(&svg, `<g transform="translate(%d 0)">`+"\n", i*panelWidth)
		panel(&svg, p.key, unit, names, lines)
		svg.WriteString("</g>\n")
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}

// lines returns what was measured as one thing grew, by the names of who did the work.
func (r *results) lines(key, unit string) (names []string, lines map[string][]point) {
	lines = make(map[string][]point)
	wanted := regexp.MustCompile(`^Growth/` + key + `=(\d+)/\w+=(\w+) ` + regexp.QuoteMeta(unit) + `$`)
	for _, name := range r.names {
		if m := wanted.FindStringSubmatch(name); m != nil {
			x, _ := strconv.ParseFloat(m[1], 64)
			lines[m[2]] = append(lines[m[2]], point{x, median(r.series[name])})
			if !slices.Contains(names, m[2]) {
				names = append(names, m[2])
			}
		}
	}
	slices.Sort(names) // twins are measured in random order
	return names, lines
}

func panel(svg *strings.Builder, key, unit string, names []string, lines map[string][]point) {
	low, high := point{math.Inf(1), math.Inf(1)}, point{}
	for _, line := range lines {
		for _, p := range line {
			low = point{min(low.x, p.x), min(low.y, p.y)}
			high = point{max(high.x, p.x), max(high.y, p.y)}
		}
	}
	logarithmic := high.y > 20*low.y
	// A round figure at the top: 1, 2 or 5, and zeros.
	step := math.Pow(10, math.Floor(math.Log10(high.y)))
	switch {
	case logarithmic:
		low.y, high.y = math.Pow(10, math.Floor(math.Log10(low.y))), step*10
	case high.y > 5*step:
		low.y, high.y = 0, 10*step
	case high.y > 2*step:
		low.y, high.y = 0, 5*step
	default:
		low.y, high.y = 0, 2*step
	}
	x := func(v float64) float64 {
		return left + (right-left)*math.Log(v/low.x)/math.Log(high.x/low.x)
	}
	y := func(v float64) float64 {
		if logarithmic {
			return bottom - (bottom-top)*math.Log(v/low.y)/math.Log(high.y/low.y)
		}
		return bottom - (bottom-top)*v/high.y
	}
	tick := func(v float64) {
		fmt.Fprintf(svg, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="end" x="%d" y="%.1f">%s</text>`+"\n",
			left, right, y(v), y(v), left-6, y(v)+4, strings.TrimSuffix(figure(v), ".00"))
	}
	if logarithmic {
		for v := low.y; v <= high.y*1.01; v *= 10 {
			tick(v)
		}
	} else {
		for i := range 6 {
			tick(high.y * float64(i) / 5)
		}
	}
	fmt.Fprintf(svg, `<text x="%d" y="16">%s</text>`+"\n", left, unit)
	fmt.Fprintf(svg, `<text class="middle" x="%d" y="%d">%s</text>`+"\n", (left+right)/2, bottom+36, key)
	for _, p := range lines[names[0]] {
		fmt.Fprintf(svg, `<text class="middle" x="%.1f" y="%d">%s</text>`+"\n", x(p.x), bottom+18, short(p.x))
	}
	for i, name := range names {
		fmt.Fprintf(svg, `<text class="s%d" x="%d" y="32">%s</text><polyline class="s%d" points="`, i, left+80*i, name, i)
		for _, p := range lines[name] {
			fmt.Fprintf(svg, "%.1f,%.1f ", x(p.x), y(p.y))
		}
		svg.WriteString(`"/>` + "\n")
	}
}

// short writes 1000 as 1k.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}
