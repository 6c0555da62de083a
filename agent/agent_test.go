package agent

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/config"
	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func newAgent(dir string) *Agent {
	return &Agent{Layout: layout.New(filepath.Join(dir, "root"), filepath.Join(dir, "state"))}
}

// TestDirectoriesAreRootsAlone is CVE-2024-25621: directories that were there before, with looser modes, are
// tightened, not only new ones made tight.
func TestDirectoriesAreRootsAlone(t *testing.T) {
	for _, old := range []os.FileMode{0, 0o755, 0o777, 0o1777, 0o711} {
		a := newAgent(t.TempDir())
		dirs := []string{a.Layout.Root, a.Layout.State, a.Layout.ExitDir()}
		for _, d := range dirs {
			if old == 0 {
				break // none is there
			}
			if err := errors.Join(os.MkdirAll(d, 0o700), os.Chmod(d, old)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.makeDirs(); err != nil {
			t.Fatal(err)
		}
		for _, d := range dirs {
			if info, err := os.Stat(d); err != nil || info.Mode() != os.ModeDir|0o700 {
				t.Errorf("%s, which was %o: %v %v", filepath.Base(d), old, info.Mode(), err)
			}
		}
		if info, err := os.Stat(filepath.Join(a.Layout.State, "agent.lock")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("lock: %v %v", info, err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOneAgentAStateDirectory(t *testing.T) {
	dir := t.TempDir()
	first, second := newAgent(dir), newAgent(dir)
	if err := first.makeDirs(); err != nil {
		t.Fatal(err)
	}
	err := second.makeDirs()
	if !errors.Is(err, lifecycle.ErrInProgress) || !strings.Contains(err.Error(), first.Layout.State) {
		t.Errorf("a second agent: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := second.makeDirs(); err != nil {
		t.Errorf("after the first: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestSibling(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sibling(filepath.Base(self)); err != nil || got != self {
		t.Errorf("%s, %v", got, err)
	}
	_, err = sibling("slipway-nothing")
	if !errors.Is(err, lifecycle.ErrUnavailable) || !strings.Contains(err.Error(), libexec) {
		t.Errorf("a missing one: %v", err)
	}
	name := "slipway-directory"
	dir := filepath.Join(filepath.Dir(self), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if got, err := sibling(name); err == nil {
		t.Errorf("a directory is no program: %s", got)
	}
}

func TestBootID(t *testing.T) {
	id, err := readBootID()
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("%q %v", id, err)
	}
}

// TestSetPodCIDR: what does not fit the operator's subnets is said, and only that.
func TestSetPodCIDR(t *testing.T) {
	for cidr, warned := range map[string]bool{
		"10.88.3.0/24": false, "10.0.0.0/8": false, "10.99.0.0/16": true, "fd00::/64": false, "fd01::/64": true,
	} {
		var out bytes.Buffer
		log := logrus.New()
		log.SetOutput(&out)
		a := &Agent{log: logrus.NewEntry(log), Config: config.Config{Network: config.Network{
			Subnets: []netip.Prefix{netip.MustParsePrefix("10.88.0.0/16"), netip.MustParsePrefix("fd00::/64")},
		}}}
		if err := a.SetPodCIDR(t.Context(), []netip.Prefix{netip.MustParsePrefix(cidr)}); err != nil {
			t.Error(err)
		}
		if strings.Contains(out.String(), cidr) != warned {
			t.Errorf("%s: %q", cidr, out.String())
		}
	}
}
