package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/agent/images"
)

func TestBars(t *testing.T) {
	for want, s := range map[string]images.Step{
		"": {Phase: "downloading"},
		strings.Repeat("=", 15) + strings.Repeat(" ", 15) + "] 512B / 1.00KiB": {Phase: "downloading", Current: 512, Total: 1024},
		strings.Repeat("=", 30) + "] 1.00KiB / 1.00KiB":                        {Phase: "downloading", Current: 9999, Total: 1024},
		strings.Repeat("=", 30) + "] 2.00KiB / 2.00KiB":                        {Phase: "exists", Total: 2048},
	} {
		if want != "" {
			want = "[" + want
		}
		if got := bar(s); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
	var out bytes.Buffer
	p := newProgress(&out, true, "a:1")
	p.step(images.Step{Layer: "sha256:1234567890abcdef", Phase: "downloading", Current: 1, Total: 2})
	p.step(images.Step{Layer: "sha256:1234567890abcdef", Phase: "done"})
	p.finish()
	// The second drawing goes back over the two lines of the first, and done is full.
	if got := out.String(); !strings.Contains(got, "\x1b[2A") || !strings.HasSuffix(got, "] 2B / 2B\n") {
		t.Errorf("%q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0B", 1023: "1023B", 1024: "1.00KiB", 1023 << 10: "1.00MiB", 12 << 20: "12.0MiB", 500 << 20: "500MiB", 1 << 60: "1024PiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
