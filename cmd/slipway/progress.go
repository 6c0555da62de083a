package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-cri/slipway/agent/images"
)

// progress shows a pull: bars that are redrawn in place on a terminal, else one line for each
// change of a layer's phase.
type progress struct {
	w      io.Writer
	bars   bool
	ref    string
	start  time.Time
	layers []string // in the order of their first step
	state  map[string]images.Step
	drawn  int // lines on the terminal
}

func newProgress(w io.Writer, bars bool, ref string) *progress {
	return &progress{w: w, bars: bars, ref: ref, start: now(), state: make(map[string]images.Step)}
}

func (p *progress) step(s images.Step) {
	before, known := p.state[s.Layer]
	if !known && s.Layer != "" {
		p.layers = append(p.layers, s.Layer)
	}
	if s.Total == 0 {
		s.Total = before.Total
	}
	p.state[s.Layer] = s
	switch {
	case p.bars:
		p.draw()
	case known && before.Phase == s.Phase:
	case s.Layer == "":
		fmt.Fprintf(p.w, "%s: %s\n", p.ref, s.Phase)
	case s.Total > 0:
		fmt.Fprintf(p.w, "%s: %s (%s)\n", shortID(s.Layer), s.Phase, size(uint64(s.Total)))
	default:
		fmt.Fprintf(p.w, "%s: %s\n", shortID(s.Layer), s.Phase)
	}
}

// draw goes back over the lines of the last time and writes each anew.
func (p *progress) draw() {
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	fmt.Fprintf(&b, "\x1b[2K%s: %s %.1fs\n", p.ref, p.state[""].Phase, now().Sub(p.start).Seconds())
	for _, l := range p.layers {
		fmt.Fprintf(&b, "\x1b[2K%s  %-11s %s\n", shortID(l), p.state[l].Phase, bar(p.state[l]))
	}
	p.drawn = len(p.layers) + 1
	_, _ = io.WriteString(p.w, b.String())
}

func (p *progress) finish() {
	if p.bars && p.drawn > 0 {
		p.draw()
	}
}

// bar is 30 columns and the two sizes; nothing where the total is not known.
func bar(s images.Step) string {
	const width = 30
	if s.Total <= 0 {
		return ""
	}
	current := min(max(s.Current, 0), s.Total)
	if s.Phase == "done" || s.Phase == "exists" {
		current = s.Total
	}
	full := int(width * current / s.Total)
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "] " +
		size(uint64(current)) + " / " + size(uint64(s.Total))
}
