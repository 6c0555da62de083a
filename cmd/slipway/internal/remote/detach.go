package remote

import "io"

// Detach passes r through until Ctrl-P Ctrl-Q, Docker's detach keys, and then returns
// ErrDetached. A Ctrl-P that is followed by anything else is passed on with it.
func Detach(r io.Reader) io.Reader { return &detacher{r: r} }

const ctrlP, ctrlQ = 0x10, 0x11

type detacher struct {
	r    io.Reader
	held bool // a Ctrl-P was read and kept back
	err  error
}

func (d *detacher) Read(p []byte) (int, error) {
	if d.err != nil || len(p) < 2 {
		if d.err == nil {
			return 0, io.ErrShortBuffer
		}
		return 0, d.err
	}
	// One byte stays free for a Ctrl-P that was kept back.
	buf := make([]byte, len(p)-1)
	n, err := d.r.Read(buf)
	out := p[:0]
	for _, b := range buf[:n] {
		switch {
		case d.held && b == ctrlQ:
			d.held, d.err = false, ErrDetached
			return len(out), d.after(len(out))
		case d.held:
			out = append(out, ctrlP)
			d.held = b == ctrlP
			if !d.held {
				out = append(out, b)
			}
		case b == ctrlP:
			d.held = true
		default:
			out = append(out, b)
		}
	}
	if err != nil {
		if d.held {
			out, d.held = append(out, ctrlP), false
		}
		d.err = err
		return len(out), d.after(len(out))
	}
	return len(out), nil
}

// after keeps the error for the next call when there is data to hand over first.
func (d *detacher) after(n int) error {
	if n > 0 {
		return nil
	}
	return d.err
}
