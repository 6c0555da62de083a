package waterfall

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Measures of the drawing in user units, at a font of 12.
const (
	rowHeight = 20
	glyph     = 7.3 // width of a monospaced glyph
	barsWidth = 640
	margin    = 16
	top       = 64 // title and axis
)

var fills = [...]string{"#0b7285", "#2b8a3e", "#e67700"}

// SVG draws the chart as a document of its own, readable on light and dark ground.
func (c *Chart) SVG() string {
	all, total := c.rows()
	names := 0
	for _, r := range all {
		names = max(names, 2*r.depth+utf8.RuneCountInString(r.name))
	}
	left := float64(margin) + float64(names+2)*glyph
	width := left + barsWidth + 12*glyph + margin
	height := top + rowHeight*len(all) + margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" viewBox="0 0 %.0f %d" font-family="ui-monospace, 'DejaVu Sans Mono', monospace" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%d" y="28" font-size="15" font-weight="bold" fill="#212529">%s: %s</text>`+"\n", margin, escape(c.Title), Millis(c.busy()))
	c.axis(&b, left, height, total)
	scale := 0.0
	if total > 0 {
		scale = barsWidth / float64(total)
	}
	for i, r := range all {
		y := top + rowHeight*i
		x, w := left+float64(r.at)*scale, max(float64(r.took)*scale, 1)
		weight := ""
		if r.depth == 0 {
			weight = ` font-weight="bold"`
		}
		label := Millis(r.took)
		if r.idle > 0 {
			label += ", " + Coarse(r.idle) + " later"
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#212529"%s>%s</text>`, margin+float64(2*r.depth)*glyph, y+14, weight, escape(r.name))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="12" rx="2" fill="%s"><title>%s %s</title></rect>`,
			x, y+4, w, fills[r.depth], escape(r.name), Millis(r.took))
		// Beside the bar; what would leave the drawing stands before it.
		if lx := x + w + 6; lx+float64(len(label))*glyph <= width {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#495057">%s</text>`+"\n", lx, y+14, label)
		} else {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#495057" text-anchor="end">%s</text>`+"\n", x-6, y+14, label)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// axis draws four divisions.
func (c *Chart) axis(b *strings.Builder, left float64, height int, total time.Duration) {
	for i := range 5 {
		x := left + barsWidth*float64(i)/4
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#dee2e6"/>`, x, top-8, x, height-margin)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" fill="#868e96" text-anchor="middle">%s</text>`+"\n", x, top-14, Millis(total*time.Duration(i)/4))
	}
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}
