// Package waterfall draws calls, their steps and the parts of these on one axis of time: as text
// for a terminal, or as SVG. It is pure; where the times come from is its caller's business.
package waterfall

import (
	"slices"
	"time"
)

// Span is a call, a step of a call, or a part of a step.
type Span struct {
	Name  string        `json:"name"`
	At    time.Duration `json:"at"` // since Chart.Began
	Took  time.Duration `json:"took"`
	Parts []Span        `json:"parts,omitempty"`
}

// Chart is what is drawn.
type Chart struct {
	Title string    `json:"title"`
	Began time.Time `json:"began"`
	Calls []Span    `json:"calls"`
}

// row is one bar; at is its place on the axis, from which idle time between calls is cut.
type row struct {
	name     string
	depth    int
	at, took time.Duration
	idle     time.Duration // of a call: how long nothing was done before it, where that was cut
}

// rows lays the calls out. Where nothing happens for longer than a tenth of the time that all calls
// took, the axis is cut: a container restarted after a day would leave nothing to be seen else.
func (c *Chart) rows() (all []row, total time.Duration) {
	calls := slices.Clone(c.Calls)
	slices.SortStableFunc(calls, func(a, b Span) int { return int(a.At - b.At) })
	var busy time.Duration
	for _, s := range calls {
		busy += s.Took
	}
	var end, cut time.Duration // of the calls so far, and what was cut before here
	for i, s := range calls {
		r := row{name: s.Name, took: s.Took}
		if idle := s.At - end; i > 0 && idle > busy/10 {
			cut += idle - busy/10
			r.idle = idle
		}
		r.at = s.At - cut
		all = append(all, r)
		for _, step := range s.Parts {
			all = append(all, row{name: step.Name, depth: 1, at: r.at + step.At - s.At, took: step.Took})
			for _, part := range step.Parts {
				all = append(all, row{name: part.Name, depth: 2, at: r.at + part.At - s.At, took: part.Took})
			}
		}
		end = max(end, s.At+s.Took)
		total = max(total, end-cut)
	}
	return all, total
}

// busy is how long the calls took together.
func (c *Chart) busy() (sum time.Duration) {
	for _, s := range c.Calls {
		sum += s.Took
	}
	return sum
}
