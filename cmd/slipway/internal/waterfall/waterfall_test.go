package waterfall

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const us = time.Microsecond

func podStart() *Chart {
	return &Chart{Title: `pod default/web <&"`, Calls: []Span{
		{Name: "StartContainer main", At: 9500 * us, Took: 900 * us, Parts: []Span{{Name: "record", At: 9500 * us, Took: 100 * us}, {Name: "exec", At: 9600 * us, Took: 800 * us}}},
		{Name: "RunPodSandbox", Took: 4000 * us, Parts: []Span{
			{Name: "record", Took: 100 * us},
			{Name: "namespaces", At: 100 * us, Took: 2400 * us, Parts: []Span{{Name: "cgroup", At: 100 * us, Took: 200 * us}, {Name: "clone", At: 300 * us, Took: 2000 * us}}},
			{Name: "network", At: 2500 * us, Took: 1500 * us},
		}},
		{Name: "CreateContainer main", At: 4100 * us, Took: 5300 * us, Parts: []Span{{Name: "process", At: 4600 * us, Took: 4800 * us}}},
		{Name: "CreateContainer later", At: time.Hour, Took: 2000 * us},
	}}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s", name, got)
	}
}

func TestText(t *testing.T) {
	c := podStart()
	golden(t, "wide.txt", c.Text(100, false))
	golden(t, "narrow.txt", c.Text(50, false))
	golden(t, "colour.txt", c.Text(80, true))
	for _, width := range []int{50, 80, 200} {
		for l := range strings.Lines(c.Text(width, false)) {
			if n := utf8.RuneCountInString(strings.TrimRight(l, "\n")); n > width {
				t.Errorf("width %d: a line of %d: %q", width, n, l)
			}
		}
	}
}

func TestSVG(t *testing.T) {
	s := podStart().SVG()
	golden(t, "pod.svg", s)
	d := xml.NewDecoder(strings.NewReader(s))
	bars := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "title" {
			bars++
		}
	}
	if all, _ := podStart().rows(); bars != len(all) {
		t.Errorf("%d bars, want %d", bars, len(all))
	}
}

// TestIdleTimeIsCut: an hour between two calls does not squeeze them to nothing.
func TestIdleTimeIsCut(t *testing.T) {
	all, total := podStart().rows()
	last := all[len(all)-1]
	if last.idle < 59*time.Minute || total > 20*time.Millisecond || last.at+last.took != total {
		t.Errorf("%+v of %s", last, total)
	}
}

func TestNothing(t *testing.T) {
	c := &Chart{Title: "pod x", Calls: []Span{{Name: "RunPodSandbox"}}}
	if !strings.Contains(c.Text(80, false), "0.00 ms") || !strings.Contains(c.SVG(), "</svg>") {
		t.Error(c.Text(80, false))
	}
}
