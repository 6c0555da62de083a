package containers

import (
	"errors"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/ocispec"
)

func TestHandlerDecidesWhatTheHostAllows(t *testing.T) {
	plain, tight := ocispec.Host{Swap: true}, ocispec.Host{NoHostDevices: true}
	one := &Containers{o: Options{Host: plain}}
	if h, err := one.host("anything"); err != nil || !h.Swap {
		t.Errorf("without handlers: %+v %v", h, err)
	}
	two := &Containers{o: Options{Host: plain, Handlers: map[string]ocispec.Host{"": plain, "tight": tight}}}
	if h, err := two.host("tight"); err != nil || !h.NoHostDevices {
		t.Errorf("tight: %+v %v", h, err)
	}
	if h, err := two.host(""); err != nil || h.NoHostDevices {
		t.Errorf("default: %+v %v", h, err)
	}
	if _, err := two.host("gone"); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("a handler that is gone: %v", err)
	}
}
