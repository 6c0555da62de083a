package containers

import (
	"errors"
	"slices"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestRelabel(t *testing.T) {
	var got []string
	c := &Containers{o: Options{Relabel: func(path, label string) error {
		got = append(got, path+" "+label)
		if path == "/etc" {
			return lifecycle.ErrInvalid
		}
		return nil
	}}}
	if err := c.relabel([]string{"/a", "/b"}, "l"); err != nil || !slices.Equal(got, []string{"/a l", "/b l"}) {
		t.Errorf("%q %v", got, err)
	}
	if err := c.relabel([]string{"/etc"}, "l"); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("refused path: %v", err)
	}
	got = nil
	if err := c.relabel([]string{"/a"}, ""); err != nil || got != nil {
		t.Errorf("without a label: %q %v", got, err)
	}
	c.o.Relabel = nil
	if err := c.relabel([]string{"/a"}, "l"); !errors.Is(err, lifecycle.ErrUnsupported) {
		t.Errorf("without the means: %v", err)
	}
}
