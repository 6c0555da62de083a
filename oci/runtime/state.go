package runtime

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/cgroups"
)

// State is the runtime-spec's state ("State" in runtime.md) and what runc adds to it.
type State struct {
	specs.State
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Cgroup  string    `json:"-"` // within every hierarchy
}

// State asks the kernel about container id. Pid is 0 when it is stopped.
func (r *Runtime) State(id string) (*State, error) {
	b, err := r.box(id)
	if err != nil {
		return nil, err
	}
	rec, err := b.record()
	if err != nil {
		return nil, err
	}
	return b.state(rec)
}

// List is State of all, by id; those that go away meanwhile are left out.
func (r *Runtime) List() ([]*State, error) {
	all, err := r.records()
	if err != nil {
		return nil, err
	}
	var out []*State
	for _, rec := range all {
		b, err := r.box(rec.ID)
		if err != nil {
			return nil, err
		}
		s, err := b.state(rec)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (r *Runtime) records() ([]*record, error) {
	entries, err := os.ReadDir(r.root)
	if err != nil {
		return nil, err
	}
	var all []*record
	for _, e := range entries {
		if !e.IsDir() || checkID(e.Name()) != nil {
			continue
		}
		b, err := r.box(e.Name())
		if err != nil {
			return nil, err
		}
		rec, err := b.record()
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, rec)
	}
	return all, nil
}

func (b *box) state(rec *record) (*State, error) {
	status, err := b.status(rec)
	if err != nil {
		return nil, err
	}
	s := &State{
		State: specs.State{
			Version: rec.OCIVersion, ID: rec.ID, Status: status, Pid: rec.Process.Pid,
			Bundle: rec.Bundle, Annotations: rec.Annotations,
		},
		Rootfs: rec.Rootfs, Created: rec.Created, Cgroup: rec.Cgroup,
	}
	if s.Version == "" {
		s.Version = specs.Version
	}
	if status == specs.StateStopped {
		s.Pid = 0
	}
	return s, nil
}

// status derives what a container is from its process, its gate and its cgroup.
func (b *box) status(rec *record) (specs.ContainerState, error) {
	if !rec.Ready {
		return b.unready()
	}
	if !rec.Process.alive() {
		return specs.StateStopped, nil
	}
	cg, err := cgroups.Open(rec.Cgroup)
	if err != nil {
		return "", err
	}
	frozen, err := cg.Frozen()
	if err != nil {
		return "", err
	}
	if frozen {
		return Paused, nil
	}
	waiting, err := b.waits()
	if err != nil {
		return "", err
	}
	if waiting {
		return specs.StateCreated, nil
	}
	return specs.StateRunning, nil
}

// unready tells a creation under way, whose process holds the lock, from one that died.
func (b *box) unready() (specs.ContainerState, error) {
	if b.lock != nil {
		return specs.StateStopped, nil // this process has the lock, so no creator does
	}
	probe := &box{dir: b.dir}
	err := probe.tryAcquire()
	probe.release()
	switch {
	case err == nil:
		return specs.StateStopped, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return specs.StateCreating, nil
	}
	return "", err
}

// waits says whether init is at the start gate: nobody else ever reads the FIFO, so that opening it
// for writing works just as long as init has not exec'd (fifo(7): ENXIO).
func (b *box) waits() (bool, error) {
	gate, err := b.gate()
	if gate != nil {
		gate.Close()
	}
	if errors.Is(err, unix.ENXIO) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// gate opens the writer's end of the start gate.
func (b *box) gate() (*os.File, error) {
	fd, err := unix.Open(b.path(gateFile), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: b.path(gateFile), Err: err}
	}
	return os.NewFile(uintptr(fd), gateFile), nil
}

// Spec is the config of container id as it was at create.
func (r *Runtime) Spec(id string) (*specs.Spec, error) {
	b, err := r.box(id)
	if err != nil {
		return nil, err
	}
	if _, err := b.record(); err != nil {
		return nil, err
	}
	return b.spec()
}
