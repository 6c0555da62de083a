package scrape

import (
	"math"
	"strconv"
	"strings"
)

// Kinds of families.
const (
	counter = "counter"
	gauge   = "gauge"
)

// page is an exposition being written: Prometheus' text format 0.0.4, or OpenMetrics 1.0.0.
type page struct {
	b    []byte
	om   bool
	name string // of the family being written
	kind string
}

// family begins one. A counter's name ends in _total, which OpenMetrics leaves to its samples.
func (p *page) family(name, kind, help string) {
	p.name, p.kind = name, kind
	title := name
	if p.om && kind == counter {
		title = strings.TrimSuffix(name, "_total")
	}
	p.b = append(p.b, "# HELP "...)
	p.b = append(p.b, title...)
	p.b = append(p.b, ' ')
	p.b = append(p.b, p.escape(help, p.om)...)
	p.b = append(p.b, "\n# TYPE "...)
	p.b = append(p.b, title...)
	p.b = append(p.b, ' ')
	p.b = append(p.b, kind...)
	p.b = append(p.b, '\n')
}

// sample writes one; labels are names and values in turn.
func (p *page) sample(value float64, labels ...string) { p.line("", value, labels, "") }

// one is a family of one sample without labels.
func (p *page) one(name, kind, help string, value float64) {
	p.family(name, kind, help)
	p.sample(value)
}

// histogram writes one histogram of the family.
func (p *page) histogram(h *histogram, labels ...string) {
	cumulative, sum := h.read()
	for i, n := range cumulative {
		le := "+Inf"
		if i < len(bounds) {
			le = p.number(bounds[i])
		}
		p.line("_bucket", float64(n), labels, le)
	}
	p.line("_sum", sum, labels, "")
	p.line("_count", float64(cumulative[len(bounds)]), labels, "")
}

func (p *page) line(suffix string, value float64, labels []string, le string) {
	p.b = append(p.b, p.name...)
	p.b = append(p.b, suffix...)
	sep := byte('{')
	for i := 0; i+1 < len(labels); i += 2 {
		p.label(sep, labels[i], labels[i+1])
		sep = ','
	}
	if le != "" {
		p.label(sep, "le", le)
		sep = ','
	}
	if sep == ',' {
		p.b = append(p.b, '}')
	}
	p.b = append(p.b, ' ')
	if suffix == "_bucket" || suffix == "_count" {
		p.b = strconv.AppendUint(p.b, uint64(value), 10)
	} else {
		p.b = append(p.b, p.number(value)...)
	}
	p.b = append(p.b, '\n')
}

func (p *page) label(sep byte, name, value string) {
	p.b = append(p.b, sep)
	p.b = append(p.b, name...)
	p.b = append(p.b, '=', '"')
	p.b = append(p.b, p.escape(value, true)...)
	p.b = append(p.b, '"')
}

// escape: in a HELP of the text format quotes stay as they are.
func (p *page) escape(s string, quotes bool) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if !strings.ContainsAny(s, "\\\n\"") {
		return s
	}
	s = strings.NewReplacer("\\", `\\`, "\n", `\n`).Replace(s)
	if quotes {
		s = strings.ReplaceAll(s, `"`, `\"`)
	}
	return s
}

// number: OpenMetrics wants a float to look like one where it is a bucket's bound.
func (p *page) number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	case math.IsNaN(v):
		return "NaN"
	}
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if p.om && !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// end closes the page.
func (p *page) end() []byte {
	if p.om {
		p.b = append(p.b, "# EOF\n"...)
	}
	return p.b
}
