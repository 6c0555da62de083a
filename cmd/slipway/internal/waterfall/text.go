package waterfall

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Colours of calls, steps and parts (SGR, ECMA-48).
var colours = [...]string{"\x1b[1;36m", "\x1b[32m", "\x1b[33m"}

const plain = "\x1b[0m"

// minBars is the least room for bars; a terminal that leaves less gets long lines.
const minBars = 10

// Text draws the chart width columns wide.
func (c *Chart) Text(width int, colour bool) string {
	all, total := c.rows()
	names := 0
	for _, r := range all {
		names = max(names, 2*r.depth+utf8.RuneCountInString(r.name))
	}
	const times = 11 // " 123.45 ms "
	bars := max(width-names-times-1, minBars)
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", c.Title, Millis(c.busy()))
	for _, r := range all {
		if r.idle > 0 {
			fmt.Fprintf(&b, "%*s  %s later\n", names, "", Coarse(r.idle))
		}
		name := strings.Repeat("  ", r.depth) + r.name
		b.WriteString(name)
		b.WriteString(strings.Repeat(" ", names-utf8.RuneCountInString(name)))
		fmt.Fprintf(&b, "%10s ", Millis(r.took))
		lead, bar := place(r, total, bars)
		b.WriteString(strings.Repeat(" ", lead))
		if colour {
			bar = colours[r.depth] + bar + plain
		}
		b.WriteString(bar)
		b.WriteByte('\n')
	}
	return b.String()
}

// eighths are blocks of 1/8 to 7/8 of a column.
var eighths = []rune("▏▎▍▌▋▊▉")

// place turns a time into columns. A bar is at least an eighth of a column wide and stays inside.
func place(r row, total time.Duration, columns int) (lead int, bar string) {
	if total <= 0 {
		return 0, string(eighths[0])
	}
	scale := float64(8*columns) / float64(total)
	from := min(max(int(float64(r.at)*scale), 0), 8*columns-1)
	width := max(int(float64(r.took)*scale+0.5), 1)
	lead = from / 8
	full := min(width/8, columns-lead)
	bar = strings.Repeat("█", full)
	if rest := width % 8; rest > 0 && lead+full < columns {
		bar += string(eighths[rest-1])
	}
	return lead, bar
}

// Millis prints a duration in milliseconds.
func Millis(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// Coarse prints a long time in the unit that fits.
func Coarse(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond / 10).String()
	case d < time.Minute:
		return d.Round(time.Second / 10).String()
	}
	return d.Round(time.Second).String()
}
