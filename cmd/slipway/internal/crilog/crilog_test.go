package crilog

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const stamp = "2026-11-24T10:00:00.000000001Z"

func logFile(t *testing.T, lines ...string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(p, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCopy(t *testing.T) {
	p := logFile(t,
		stamp+" stdout F one", stamp+" stderr F oops", stamp+" stdout P tw", stamp+" stdout F o",
		"2026-11-24T11:00:00Z stdout F ", "2026-11-24T11:00:00Z stdout F:x three  spaces", "2026-11-24T11:00:00Z stdout P end")
	for name, tc := range map[string]struct {
		o        Options
		out, err string
	}{
		"all":        {Options{Tail: -1}, "one\ntwo\n\nthree  spaces\nend", "oops\n"},
		"tail":       {Options{Tail: 2}, "\nthree  spaces\nend", ""},
		"tail parts": {Options{Tail: 3}, "two\n\nthree  spaces\nend", ""},
		"tail more":  {Options{Tail: 99}, "one\ntwo\n\nthree  spaces\nend", "oops\n"},
		"tail none":  {Options{Tail: 0}, "end", ""},
		"since":      {Options{Tail: -1, Since: time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC)}, "\nthree  spaces\nend", ""},
	} {
		var out, errs bytes.Buffer
		if err := Copy(t.Context(), p, tc.o, &out, &errs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if out.String() != tc.out || errs.String() != tc.err {
			t.Errorf("%s: %q %q", name, out.String(), errs.String())
		}
	}
}

func TestTimestamps(t *testing.T) {
	p := logFile(t, stamp+" stdout P a", stamp+" stdout F b")
	var out bytes.Buffer
	if err := Copy(t.Context(), p, Options{Tail: -1, Timestamps: true}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if want := stamp + " ab\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestLongLine(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	p := logFile(t, stamp+" stdout F "+long, stamp+" stdout F end")
	for _, tail := range []int{-1, 2} {
		var out bytes.Buffer
		if err := Copy(t.Context(), p, Options{Tail: tail}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if out.String() != long+"\nend\n" {
			t.Errorf("tail %d: %d bytes", tail, out.Len())
		}
	}
}

func TestNoLog(t *testing.T) {
	for _, line := range []string{"hello", "x stdout F y", stamp} {
		if err := Copy(t.Context(), logFile(t, line), Options{Tail: -1}, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was taken for a line", line)
		}
	}
}

// expect is a writer that tells when the text that is awaited has come.
type expect struct {
	mu   sync.Mutex
	got  strings.Builder
	want string
	done chan struct{}
}

func (e *expect) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.got.Write(p)
	if e.want != "" && strings.HasSuffix(e.got.String(), e.want) {
		e.want = ""
		close(e.done)
	}
	return len(p), nil
}

func (e *expect) await(t *testing.T, text string, act func()) {
	t.Helper()
	e.mu.Lock()
	e.want, e.done = text, make(chan struct{})
	done := e.done
	e.mu.Unlock()
	act()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%q has not come; there is %q", text, e.got.String())
	}
}

func TestFollowOverRotation(t *testing.T) {
	p := logFile(t, stamp+" stdout F one")
	write := func(text string) {
		f, err := os.OpenFile(p, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	var ended bool
	var mu sync.Mutex
	o := Options{Tail: -1, Follow: true, Poll: time.Millisecond, Done: func() (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return ended, nil
	}}
	out := &expect{}
	result := make(chan error, 1)
	out.await(t, "one\n", func() { go func() { result <- Copy(t.Context(), p, o, out, io.Discard) }() })
	write(stamp + " stdout F tw") // a torn line
	out.await(t, "one\ntwo\n", func() { write("o\n") })
	// The last lines of the old file, the rename and the new file come at once.
	write(stamp + " stdout F three\n")
	if err := os.Rename(p, p+".1"); err != nil {
		t.Fatal(err)
	}
	out.await(t, "two\nthree\nfour\n", func() { write(stamp + " stdout F four\n") })
	write(stamp + " stdout F five\n")
	mu.Lock()
	ended = true
	mu.Unlock()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if want := "one\ntwo\nthree\nfour\nfive\n"; out.got.String() != want {
		t.Errorf("%q, want %q", out.got.String(), want)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := Copy(ctx, logFile(t, stamp+" stdout F one"), Options{Tail: -1, Follow: true}, &out, io.Discard); err != nil || out.String() != "one\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(stamp + " stdout F x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if err == nil && l.Full && !bytes.HasSuffix(l.Text, []byte("\n")) {
			t.Errorf("%q", l.Text)
		}
	})
}
