package remote

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// IsTerminal tells whether v is an open terminal.
func IsTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Raw puts a terminal into raw mode, so that every key goes to the container; restore must
// be called before the process ends.
func Raw(f *os.File) (restore func(), err error) {
	old, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return func() { _ = term.Restore(int(f.Fd()), old) }, nil
}

// Sizes sends the terminal's size now and at each change, the newest only, until ctx ends.
func Sizes(ctx context.Context, f *os.File) <-chan Size {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	sizes := make(chan Size, 1)
	go func() {
		defer signal.Stop(changed)
		for {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
				select {
				case <-sizes:
				default:
				}
				sizes <- Size{uint16(w), uint16(h)} // this goroutine alone fills it
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}()
	return sizes
}
