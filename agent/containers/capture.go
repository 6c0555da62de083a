package containers

import (
	"os"
	"time"
)

// capture collects one output of an ExecSync through a pipe, up to syncOutputLimit.
type capture struct {
	read, write *os.File
	data        []byte
	done        chan struct{}
}

func newCapture() (*capture, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &capture{read: r, write: w}, nil
}

// start begins to read, once the exec holds the writing end.
func (c *capture) start() {
	_ = c.write.Close()
	c.write = nil
	c.done = make(chan struct{})
	go func() {
		defer close(c.done)
		buf := make([]byte, 4096)
		for {
			n, err := c.read.Read(buf)
			c.data = append(c.data, buf[:min(n, syncOutputLimit-len(c.data))]...)
			if err != nil {
				return // the end, or the deadline of finish
			}
			if n == len(buf) && n < 64<<10 {
				buf = make([]byte, 4*n)
			}
		}
	}()
}

// finish returns what was written; what a left-over child still writes is read until then at most.
func (c *capture) finish(until time.Time) []byte {
	_ = c.read.SetReadDeadline(until)
	<-c.done
	return c.data
}

func (c *capture) close() {
	_ = c.read.Close()
	if c.write != nil {
		_ = c.write.Close()
	}
}
