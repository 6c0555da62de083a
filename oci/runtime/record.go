package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/spec"
)

// Files of a container's directory.
const (
	recordFile = "state.json"
	specFile   = "config.json" // the bundle's as it was at create
	gateFile   = "start"       // FIFO of the start gate
)

// recordVersion changes when an older program must not read the record.
const recordVersion = 1

// record is what is known of a container. Its status is not stored but asked of the kernel (status).
type record struct {
	Version int
	ID      string
	Bundle  string
	Rootfs  string
	Created time.Time
	Cgroup  string
	Ready   bool // init is at the start gate, or was

	Process process
	// OCIVersion and Annotations are the config's.
	OCIVersion  string
	Annotations map[string]string `json:",omitempty"`
}

// box is one container's directory, locked or not.
type box struct {
	dir  string
	lock *os.File // nil while not locked
}

func (r *Runtime) box(id string) (*box, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	return &box{dir: filepath.Join(r.root, id)}, nil
}

func (b *box) path(name string) string { return filepath.Join(b.dir, name) }

// acquire locks the directory, which another process may be changing, or have removed meanwhile.
func (b *box) acquire(ctx context.Context) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		err := b.tryAcquire()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		t := time.NewTimer(wait) // flock(2) cannot be awaited together with a context
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("container %s is busy: %w", filepath.Base(b.dir), ctx.Err())
		}
	}
}

func (b *box) tryAcquire() error {
	f, err := os.Open(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("container %s: %w", filepath.Base(b.dir), ErrNotFound)
	}
	if err != nil {
		return err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			break
		}
	}
	if err == nil {
		var st unix.Stat_t
		if err = unix.Fstat(int(f.Fd()), &st); err == nil && st.Nlink == 0 {
			err = fmt.Errorf("container %s: %w", filepath.Base(b.dir), ErrNotFound)
		}
	}
	if err != nil {
		f.Close()
		return err
	}
	b.lock = f
	return nil
}

func (b *box) release() {
	if b.lock != nil {
		b.lock.Close()
		b.lock = nil
	}
}

// write replaces a file as a whole: readers take no lock.
func (b *box) write(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := b.path("." + name)
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, b.path(name))
}

func (b *box) record() (*record, error) {
	data, err := os.ReadFile(b.path(recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(b.dir); err == nil {
			// A creation that has just begun, or died before it had made anything else.
			return &record{Version: recordVersion, ID: filepath.Base(b.dir)}, nil
		}
		return nil, fmt.Errorf("container %s: %w", filepath.Base(b.dir), ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	rec := &record{}
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("%s: %w", b.path(recordFile), err)
	}
	if rec.Version != recordVersion {
		return nil, fmt.Errorf("%s: version %d of another release", b.path(recordFile), rec.Version)
	}
	return rec, nil
}

func (b *box) spec() (*specs.Spec, error) {
	f, err := os.Open(b.path(specFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return spec.ParseReader(f)
}
