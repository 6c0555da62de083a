package seccomp

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/spec"
)

// MaxProfileSize bounds a profile file in bytes; the field's default is 20 KiB.
const MaxProfileSize = 1 << 20

// defaults holds Default's results by bounding set. A node has a handful; the limit is
// against a client that asks for a new set each time.
var defaults = struct {
	sync.Mutex
	by map[string]*specs.LinuxSeccomp
}{by: map[string]*specs.LinuxSeccomp{}}

const maxDefaults = 64

// Default is the field's default profile (moby/profiles) for this machine and the
// bounding capabilities of s. The result is shared: it must not be changed.
func Default(s *specs.Spec) (*specs.LinuxSeccomp, error) {
	caps := slices.Clone(bounding(s))
	slices.Sort(caps)
	key := strings.Join(caps, " ")
	defaults.Lock()
	defer defaults.Unlock()
	if p, ok := defaults.by[key]; ok {
		return p, nil
	}
	p, err := moby.GetDefaultProfile(withCaps(caps))
	if err != nil {
		return nil, fmt.Errorf("default seccomp profile: %w", err)
	}
	if len(defaults.by) >= maxDefaults {
		clear(defaults.by)
	}
	defaults.by[key] = p
	return p, nil
}

func bounding(s *specs.Spec) []string {
	if s == nil || s.Process == nil || s.Process.Capabilities == nil {
		return nil
	}
	return s.Process.Capabilities.Bounding
}

// withCaps is the part of a spec that profiles' conditions look at.
func withCaps(caps []string) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
}

// FromBytes reads a profile in Docker's JSON form (archMap, includes, excludes, resolved
// for this machine and the bounding capabilities of s) or in the runtime-spec's. nil and
// no error means that the profile asks for no filter. The result compiles.
func FromBytes(data []byte, s *specs.Spec) (*specs.LinuxSeccomp, error) {
	if len(data) > MaxProfileSize {
		return nil, fmt.Errorf("seccomp profile: more than %d bytes: %w", MaxProfileSize, spec.ErrInvalid)
	}
	if err := rejectNullRules(data); err != nil {
		return nil, err
	}
	p, err := moby.LoadProfile(string(data), withCaps(bounding(s)))
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", spec.ErrInvalid, err)
	}
	if p == nil {
		return nil, nil
	}
	if _, err := parse(p, ""); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return p, nil
}

// FromFile reads a profile as FromBytes does. Only regular files are read: a fifo must
// not hold up whoever creates a container.
func FromFile(path string, s *specs.Spec) (*specs.LinuxSeccomp, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("seccomp profile %q: not a regular file: %w", path, spec.ErrInvalid)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxProfileSize+1))
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	p, err := FromBytes(data, s)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return p, nil
}

// rejectNullRules refuses {"syscalls": [null]}, which the profile library would follow.
func rejectNullRules(data []byte) error {
	var p struct {
		Syscalls []json.RawMessage `json:"syscalls"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("seccomp profile: %w: %w", spec.ErrInvalid, err)
	}
	for i, s := range p.Syscalls {
		if string(s) == "null" {
			return fmt.Errorf("seccomp profile: syscalls[%d]: null: %w", i, spec.ErrInvalid)
		}
	}
	return nil
}
