package config

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestHandlers(t *testing.T) {
	c, err := Parse([]byte("[runtime.handlers.tight]\nprivileged_without_host_devices = true\nseccomp_profile = '/p.json'\napparmor_profile = 'tight'\n[runtime.handlers.a]\n[cdi]\nspec_dirs = ['/cdi']\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if got := c.Runtime.HandlerNames(); !slices.Equal(got, []string{"", "slipway", "a", "tight"}) {
		t.Errorf("names %q", got)
	}
	if want := (Handler{true, "/p.json", "tight"}); c.Runtime.Handlers["tight"] != want {
		t.Errorf("%+v", c.Runtime.Handlers["tight"])
	}
	if !slices.Equal(c.CDI.SpecDirs, []string{"/cdi"}) {
		t.Errorf("CDI directories %q", c.CDI.SpecDirs)
	}
	for text, key := range map[string]string{
		"[runtime.handlers.slipway]\n":                         "runtime.handlers.slipway",
		"[runtime.handlers.'A b']\n":                           "runtime.handlers.A b",
		"[runtime.handlers.x]\nseccomp_profile = 'rel.json'\n": "runtime.handlers.x.seccomp_profile",
		"[cdi]\nspec_dirs = ['etc/cdi']\n":                     "cdi.spec_dirs",
	} {
		c, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Parse([]byte("[runtime.handlers.x]\ntyop = 1\n")); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("unknown key: %v", err)
	}
}
