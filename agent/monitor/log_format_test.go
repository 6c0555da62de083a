package monitor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var testTime = time.Date(2026, 11, 24, 15, 4, 5, 7000, time.FixedZone("", 3600))

// feed runs input through the formatter in pieces, as a stream's turns do.
func feed(pieces [][]byte, stream byte, maxLine, capacity int) []byte {
	var h header
	var log, tail []byte
	for _, p := range pieces {
		h.set(testTime, stream)
		in := append(tail, p...)
		off := 0
		for {
			records, n := h.format(make([]byte, 0, capacity), in[off:], maxLine)
			if n == 0 {
				break
			}
			log = append(log, records...)
			off += n
		}
		tail = append([]byte(nil), in[off:]...)
	}
	if len(tail) > 0 {
		log = h.last(log, tail)
	}
	return log
}

// joined gives back what a log says of one stream: as kubelet reads it, a partial record
// has no newline.
func joined(t testing.TB, log []byte, stream string) []byte {
	t.Helper()
	var out []byte
	for len(log) > 0 {
		line, rest, ok := bytes.Cut(log, []byte("\n"))
		if !ok {
			t.Fatalf("record without newline: %.80q", log)
		}
		log = rest
		f := bytes.SplitN(line, []byte(" "), 4)
		if len(f) != 4 || len(f[0]) != len(stampLayout) {
			t.Fatalf("record %.80q", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, string(f[0])); err != nil {
			t.Fatal(err)
		}
		if string(f[1]) != stream {
			continue
		}
		out = append(out, f[3]...)
		switch string(f[2]) {
		case "F":
			out = append(out, '\n')
		case "P":
		default:
			t.Fatalf("tag of %.80q", line)
		}
	}
	return out
}

func TestFormat(t *testing.T) {
	const at = "2026-11-24T14:04:05.000007000Z "
	for _, c := range []struct {
		name    string
		pieces  []string
		maxLine int
		want    string
	}{
		{"line", []string{"hello\n"}, 8, at + "stdout F hello\n"},
		{"empty line", []string{"\n"}, 8, at + "stdout F \n"},
		{"line in two reads", []string{"he", "llo\n"}, 8, at + "stdout F hello\n"},
		{"two lines", []string{"a\nb\n"}, 8, at + "stdout F a\n" + at + "stdout F b\n"},
		{"carriage return stays", []string{"a\r\n"}, 8, at + "stdout F a\r\n"},
		{"no newline at the end", []string{"abc"}, 8, at + "stdout P abc\n"},
		{"exactly the limit", []string{"12345678", "\n"}, 8, at + "stdout F 12345678\n"},
		{"one more", []string{"123456789\n"}, 8, at + "stdout P 12345678\n" + at + "stdout F 9\n"},
		{"twice the limit", []string{"1234567812345678\n"}, 8, at + "stdout P 12345678\n" + at + "stdout F 12345678\n"},
		{"limit and end", []string{"12345678"}, 8, at + "stdout P 12345678\n"},
		{"nothing", nil, 8, ""},
	} {
		var pieces [][]byte
		for _, p := range c.pieces {
			pieces = append(pieces, []byte(p))
		}
		if got := string(feed(pieces, StreamStdout, c.maxLine, 64)); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
	if got := string(feed([][]byte{[]byte("x\n")}, StreamStderr, 8, 64)); got != at+"stderr F x\n" {
		t.Errorf("stderr: %q", got)
	}
}

// TestFormatGivesBackTheInput cuts random input anywhere and joins the log again.
func TestFormatGivesBackTheInput(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		input := make([]byte, rnd.IntN(4000))
		for i := range input {
			input[i] = "abc\n\r \x00"[rnd.IntN(7)]
		}
		if rnd.IntN(3) == 0 {
			input = bytes.ReplaceAll(input, []byte("\n"), nil)
		}
		var pieces [][]byte
		for rest := input; len(rest) > 0; {
			n := 1 + rnd.IntN(min(len(rest), 700))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		maxLine := 1 + rnd.IntN(64)
		log := feed(pieces, StreamStdout, maxLine, headerLen+maxLine+1+rnd.IntN(200))
		if got := joined(t, log, "stdout"); !bytes.Equal(got, input) {
			t.Fatalf("in  %q\nout %q", input, got)
		}
	}
}

func FuzzFormat(f *testing.F) {
	f.Add([]byte("a\nbb\n\nccc"), uint8(2), uint8(3))
	f.Fuzz(func(t *testing.T, input []byte, maxLine, cut uint8) {
		limit := int(maxLine) + 1
		var pieces [][]byte
		for rest := input; len(rest) > 0; {
			n := min(int(cut)+1, len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		log := feed(pieces, StreamStdout, limit, headerLen+limit+1)
		if got := joined(t, log, "stdout"); !bytes.Equal(got, input) {
			t.Fatalf("in  %q\nout %q", input, got)
		}
		for line := range bytes.Lines(log) {
			if len(line) > headerLen+limit+1 {
				t.Fatalf("record of %d bytes", len(line))
			}
		}
	})
}

func BenchmarkFormat(b *testing.B) {
	in := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", readSize/100))
	out := make([]byte, 0, 2*readSize)
	var h header
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		h.set(testTime, StreamStdout)
		if records, n := h.format(out, in, DefaultMaxLine); n != len(in) || len(records) == 0 {
			b.Fatal(fmt.Sprint(n))
		}
	}
}
