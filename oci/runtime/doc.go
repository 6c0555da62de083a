// Package runtime does the OCI runtime-spec's operations on a container by id: create, start, state,
// kill, delete, and exec, pause, resume, update and list beside them ("Operations" in the spec's
// runtime.md). State is files below one directory, so that each operation may come from another process.
//
// Not its job: images, networks, logs, hooks, user namespaces. The process is a child of whoever creates
// it, who reaps it with Wait, or ends and leaves it to init or a subreaper. A Runtime keeps nothing in
// memory; changing operations on one container take a lock on its directory, between processes too.
package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/oci/container"
	"github.com/slipway-cri/slipway/oci/kernel/probe"
	"github.com/slipway-cri/slipway/oci/plan"
)

// DefaultRoot is where state is kept unless Options say otherwise; it is gone after a reboot, as the containers are.
const DefaultRoot = "/run/slipway-oci"

// Paused is the status of a container whose cgroup is frozen, which the runtime-spec leaves to runtimes.
const Paused specs.ContainerState = "paused"

// Errors beside those of oci/spec (a config.json that cannot be carried out), container.InitError (what
// failed inside, with its errno) and *os.PathError.
var (
	ErrNotFound = errors.New("container does not exist")
	ErrExists   = errors.New("container with given ID already exists")
	ErrState    = errors.New("not possible in the container's state")
	ErrID       = errors.New("invalid container id")
)

// Options of New.
type Options struct {
	Root     string // "" = DefaultRoot
	InitPath string // slipway-init, "" = beside this program
}

// Runtime is the containers below one root directory.
type Runtime struct {
	root, init string
	options    plan.Options
	// fault, where set, is asked before each step of a creation; tests make it fail there.
	fault func(step string) error
}

// New makes the root directory and looks at the kernel.
func New(o Options) (*Runtime, error) {
	r := &Runtime{root: o.Root, init: o.InitPath}
	if r.root == "" {
		r.root = DefaultRoot
	}
	var err error
	if r.root, err = filepath.Abs(r.root); err != nil {
		return nil, err
	}
	if r.init == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		r.init = filepath.Join(filepath.Dir(self), container.InitName)
	}
	if err := os.MkdirAll(r.root, 0o700); err != nil {
		return nil, err
	}
	f := probe.Get()
	if missing := f.Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("kernel %s lacks %s", f.Release, strings.Join(missing, ", "))
	}
	r.options = plan.Options{
		LastCap: f.LastCap, AllowedCaps: f.Bounding, CgroupV2: f.Cgroup == probe.CgroupV2,
		Features: plan.Features{MountSetattr: f.MountSetattr, CgroupNS: f.CgroupNS, SeccompActions: f.SeccompActions},
	}
	return r, nil
}

// checkID allows what is a file name everywhere: the field's letters, digits and "_+-.".
func checkID(id string) error {
	ok := id != "" && id != "." && id != ".." && len(id) <= 255
	for _, c := range []byte(id) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_+-.", c) >= 0)
	}
	if !ok {
		return fmt.Errorf("%q: %w", id, ErrID)
	}
	return nil
}
