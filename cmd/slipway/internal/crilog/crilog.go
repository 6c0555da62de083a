// Package crilog reads container logs in the CRI format, "TIME STREAM TAG TEXT" a line
// (KEP-kubelet-cri-logging), and follows them over rotation. It only reads files of this machine;
// whoever rotates renames the file and has a new one made at the same path. No locks.
package crilog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Line is one parsed line. Text has its newline back where the tag was F.
type Line struct {
	Time   time.Time
	Stream string // "stdout" or "stderr"
	Text   []byte
	Full   bool // F: the end of a line of the process; P: more follows
}

// Parse parses one line without its newline. Text aliases b unless a newline is added.
func Parse(b []byte) (Line, error) {
	stamp, rest, ok1 := bytes.Cut(b, []byte{' '})
	stream, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tags, text, _ := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 {
		return Line{}, fmt.Errorf("%.60q is no line of a CRI log", b)
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("%.60q is no line of a CRI log: %w", b, err)
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	l := Line{Time: at, Stream: string(stream), Text: text, Full: string(tag) == "F"}
	if l.Full {
		l.Text = append(text[:len(text):len(text)], '\n')
	}
	return l, nil
}

// Options of Copy.
type Options struct {
	Tail       int // the last lines only; negative = all
	Since      time.Time
	Timestamps bool
	// Follow waits for more until Done returns true and everything has been read. nil Done: until ctx ends.
	Follow bool
	Done   func() (bool, error)
	// Poll is how often a file at its end is looked at again. 0 means 100 ms.
	Poll time.Duration
}

// Copy writes the log at path to the two writers. A context that ends is no error.
func Copy(ctx context.Context, path string, o Options, stdout, stderr io.Writer) error {
	if o.Poll == 0 {
		o.Poll = 100 * time.Millisecond
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	c := &copier{o: o, path: path, out: map[string]io.Writer{"stdout": stdout, "stderr": stderr}}
	c.use(f)
	defer func() { _ = c.f.Close() }()
	if o.Tail >= 0 {
		offset, err := tailOffset(f, o.Tail)
		if err != nil {
			return err
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return err
		}
	}
	return c.run(ctx)
}

type copier struct {
	o    Options
	path string
	out  map[string]io.Writer
	f    *os.File
	r    *bufio.Reader
	part []byte // of a line whose end is not written yet
	mid  bool   // the last line was partial: no second timestamp
}

func (c *copier) use(f *os.File) {
	c.f, c.r, c.part = f, bufio.NewReaderSize(f, 64<<10), nil
}

func (c *copier) run(ctx context.Context) error {
	tick := time.NewTicker(c.o.Poll)
	defer tick.Stop()
	for {
		// Asked before the read: what the process wrote before its end is then in the file.
		done := !c.o.Follow
		if !done && c.o.Done != nil {
			var err error
			if done, err = c.o.Done(); err != nil {
				return err
			}
		}
		rotated, err := c.rotated()
		if err != nil {
			return err
		}
		if err := c.drain(); err != nil {
			return err
		}
		if rotated != nil {
			_ = c.f.Close()
			c.use(rotated)
			continue
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// drain reads to the present end of the file.
func (c *copier) drain() error {
	for {
		b, err := c.r.ReadSlice('\n')
		if err != nil {
			c.part = append(c.part, b...)
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				continue
			case errors.Is(err, io.EOF):
				return nil
			}
			return err
		}
		if len(c.part) > 0 {
			b = append(c.part, b...)
			c.part = c.part[:0]
		}
		if err := c.line(b[:len(b)-1]); err != nil {
			return err
		}
	}
}

func (c *copier) line(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	l, err := Parse(b)
	if err != nil {
		return err
	}
	if l.Time.Before(c.o.Since) {
		return nil
	}
	w := c.out[l.Stream]
	if w == nil {
		return nil
	}
	if c.o.Timestamps && !c.mid {
		if _, err := io.WriteString(w, l.Time.Format(time.RFC3339Nano)+" "); err != nil {
			return err
		}
	}
	c.mid = !l.Full
	_, err = w.Write(l.Text)
	return err
}

// rotated opens the file that is at path now, if it is another one than is being read or
// that one was cut. It is called before the old file's rest is read: nothing is written to that any more
// once a new one is there.
func (c *copier) rotated() (*os.File, error) {
	if !c.o.Follow {
		return nil, nil
	}
	now, err := os.Stat(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // renamed, and the new one is not there yet
	}
	if err != nil {
		return nil, err
	}
	mine, err := c.f.Stat()
	if err != nil {
		return nil, err
	}
	if os.SameFile(now, mine) {
		return nil, nil
	}
	f, err := os.Open(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// tailOffset finds where the last n full lines begin, in one pass with a ring of offsets.
func tailOffset(f *os.File, n int) (int64, error) {
	starts := make([]int64, 0, n+1)
	var offset, begin int64
	r := bufio.NewReaderSize(f, 256<<10)
	for {
		b, err := readLine(r)
		offset += int64(len(b))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if l, err := Parse(bytes.TrimSuffix(b, []byte{'\n'})); err == nil && !l.Full {
			continue
		}
		starts = append(starts, begin)
		if len(starts) > n {
			starts = append(starts[:0], starts[1:]...)
		}
		begin = offset
	}
	if len(starts) == 0 {
		return begin, nil
	}
	return starts[0], nil
}

func readLine(r *bufio.Reader) ([]byte, error) {
	b, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return b, err
	}
	long := bytes.Clone(b)
	rest, err := r.ReadBytes('\n')
	return append(long, rest...), err
}
