package containers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

func TestCreateStartStopRemove(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "c")
	v := f.get(t, id[:12])
	if v.State != lifecycle.ContainerCreated || v.Pid != 42 || v.ImageRef != "r/busybox@sha256:5678" || len(v.Timeline) != 4 {
		t.Errorf("created: %+v", v)
	}
	if again, err := f.Create(t.Context(), "pod-1", config("c"), nil); err != nil || again != id {
		t.Errorf("a retry: %s %v", again, err)
	}
	other := config("c")
	other.Command = []string{"/bin/false"}
	if _, err := f.Create(t.Context(), "pod-1", other, nil); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("another of this name: %v", err)
	}
	for range 2 {
		if err := f.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerRunning || v.StartedAt.Unix() != 100 {
		t.Errorf("started: %+v", v)
	}
	for range 2 {
		if err := f.Stop(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
	}
	v = f.awaitExit(t, id)
	if v.State != lifecycle.ContainerExited || v.ExitCode != 137 || v.Reason != "Error" || v.Pid != 0 {
		t.Errorf("stopped: %+v", v)
	}
	want := "get image, use image, read users, read users, create, start, kill, delete"
	if got := f.k.ops(); got != want {
		t.Errorf("operations: %s\nwant: %s", got, want)
	}
	for range 2 {
		if err := f.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	f.balanced(t, "removed")
	if err := f.Stop(t.Context(), "nobody", 0); err != nil {
		t.Errorf("unknown id: %v", err)
	}
	if err := f.Start(t.Context(), id); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("start of a removed one: %v", err)
	}
}

// TestCreateFailsAtEachOperation breaks the nth operation of a creation: the error says so, nothing is
// left, also when the exit of the process comes late, and a retry works.
func TestCreateFailsAtEachOperation(t *testing.T) {
	for n := 1; ; n++ {
		f := newFixture(t)
		f.k.fail = n
		_, err := f.Create(t.Context(), "pod-1", config("c"), nil)
		if err == nil {
			if n < 6 {
				t.Fatalf("a creation of %d operations?", n-1)
			}
			return
		}
		if !errors.Is(err, errBoom) || !strings.Contains(err.Error(), `"c" in pod pod-1`) {
			t.Errorf("operation %d: %v", n, err)
		}
		f.balanced(t, f.k.log[n-1]+" failed")
		if _, err := f.Create(t.Context(), "pod-1", config("c"), nil); err != nil {
			t.Errorf("retry after operation %d: %v", n, err)
		}
	}
}

// TestCreateFailsAtEachRecord lets the nth write of the record fail, as a full disk does.
func TestCreateFailsAtEachRecord(t *testing.T) {
	for n := 1; n <= 3; n++ {
		f := newFixture(t)
		f.failSave(n)
		if _, err := f.Create(t.Context(), "pod-1", config("c"), nil); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("record %d: %v", n, err)
		}
		f.balanced(t, "a record could not be written")
		if _, err := f.Create(t.Context(), "pod-1", config("c"), nil); err != nil {
			t.Errorf("retry after record %d: %v", n, err)
		}
	}
}

// TestCreatedDirectoriesIgnoreTheUmask: upper's mode is that of the container's "/".
func TestCreatedDirectoriesIgnoreTheUmask(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	f := newFixture(t)
	id := f.create(t, "c")
	for _, name := range []string{"upper", "work", "volumes/0"} {
		info, err := os.Stat(filepath.Join(f.l.ContainerDir(id), name))
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if info, err := os.Stat(f.l.ContainerDir(id)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the container's directory: %v %v", info, err)
	}
}

func TestCreateIsRefused(t *testing.T) {
	f := newFixture(t)
	missing := config("c")
	missing.Image.Image = "missing"
	if _, err := f.Create(t.Context(), "pod-1", missing, nil); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("unknown image: %v", err)
	}
	if _, err := f.Create(t.Context(), "pod-2", config("c"), nil); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("unknown pod: %v", err)
	}
	f.pod.v.State = lifecycle.PodNotReady
	if _, err := f.Create(t.Context(), "pod-1", config("c"), nil); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("stopped pod: %v", err)
	}
	f.balanced(t, "refused")
}

// TestImageLabelsReachNothing: an image's labels, reserved names among them, are in nothing that the node
// acts on or passes on (CVE-2026-53488).
func TestImageLabelsReachNothing(t *testing.T) {
	f := newFixture(t)
	f.k.labels = map[string]string{
		"org.systemd.property.ExecStartPre": "hostile-value", "io.kubernetes.cri.container-type": "hostile-value",
		"org.opencontainers.image.stopSignal": "hostile-value", "io.kubernetes.pod.uid": "hostile-value",
	}
	id := f.create(t, "c")
	for _, name := range []string{"record", specFile} {
		data, err := os.ReadFile(filepath.Join(f.l.ContainerDir(id), name))
		if err != nil || len(data) == 0 || strings.Contains(string(data), "hostile") || strings.Contains(string(data), "systemd") {
			t.Errorf("%s: %v\n%s", name, err, data)
		}
	}
	if v := f.get(t, id); len(v.Config.GetLabels())+len(v.Config.GetAnnotations()) != 0 {
		t.Errorf("%v", v.Config)
	}
}

// TestExitDuringCreate: the process is killed from outside before its creation is complete.
func TestExitDuringCreate(t *testing.T) {
	f := newFixture(t)
	f.Containers.o.Runtime = duringCreate{f.k, func(id string) {
		f.exit(runtime.Exit{ID: id, Code: 137})
		f.exit(runtime.Exit{ID: id, Code: 1})
	}}
	id := f.create(t, "c")
	if v := f.awaitExit(t, id); v.State != lifecycle.ContainerExited || v.ExitCode != 137 || v.Pid != 0 {
		t.Errorf("%+v", v)
	}
	if err := f.Start(t.Context(), id); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("start: %v", err)
	}
	if err := f.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f.balanced(t, "removed")
}

type duringCreate struct {
	*kernel
	then func(id string)
}

func (d duringCreate) Create(ctx context.Context, s runtime.ContainerSpec) (int, error) {
	pid, err := d.kernel.Create(ctx, s)
	d.then(s.ID)
	return pid, err
}

// TestLateExitWritesNoRecord: the exit of a process whose creation is undone, or whose container is
// removed, comes when the record is gone already, and must not bring it back.
func TestLateExitWritesNoRecord(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "c")
	e := f.inv.Peek(id)
	if err := e.Erase(f.store.Remove); err != nil {
		t.Fatal(err)
	}
	f.exit(runtime.Exit{ID: id, Code: 137})
	if _, err := os.Stat(f.l.ContainerDir(id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is back: %v", err)
	}
	e.Drop()
	f.dropEnd(id)
	f.exit(runtime.Exit{ID: id, Code: 137})
	f.exit(runtime.Exit{ID: "unknown"})
	if len(f.ends) != 0 {
		t.Errorf("ends of unknown ids: %v", f.ends)
	}
}

// TestCreateGoesOnWhenItsCallerLeaves: a client that timed out finds the container by asking again.
func TestCreateGoesOnWhenItsCallerLeaves(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.Containers.o.Runtime = duringCreate{f.k, func(string) { cancel() }}
	first, err := f.Create(ctx, "pod-1", config("c"), nil)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	id := f.create(t, "c")
	if err == nil && first != id || strings.Count(f.k.ops(), "create") != 1 {
		t.Errorf("%s, then %s: %s", first, id, f.k.ops())
	}
}

// failSave makes the nth record from now on fail, and only that.
func (f *fixture) failSave(n int) {
	save := f.save
	f.save = func(id string, v *Container) error {
		if n--; n == 0 {
			return errors.Join(save(id, v), syscall.ENOSPC) // its directory may well be there by then
		}
		return save(id, v)
	}
}
