package pods

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// recorder is hooks that write into the kernel's log.
type recorder struct {
	k      *kernel
	inside int
	listed func() int
}

func (r *recorder) Enter(bool) func() {
	r.inside++
	return func() { r.inside-- }
}

func (r *recorder) told(event string) error {
	if r.inside == 0 {
		event += " outside of the gate"
	}
	return r.k.do(event, "", true)
}

func (r *recorder) RunPod(context.Context, *Pod) error {
	if r.listed() != 0 {
		return errors.New("listed too early")
	}
	return r.told("hook run")
}
func (r *recorder) UpdatePod(context.Context, *Pod, *specs.LinuxResources, *specs.LinuxResources) error {
	return r.told("hook update")
}
func (r *recorder) PostUpdatePod(context.Context, *Pod) { _ = r.told("hook updated") }
func (r *recorder) StopPod(context.Context, *Pod)       { _ = r.told("hook stop") }
func (r *recorder) RemovePod(context.Context, *Pod)     { _ = r.told("hook remove") }

func hooked(t *testing.T) (*fixture, *recorder) {
	t.Helper()
	f := newFixture(t)
	r := &recorder{k: f.k, listed: func() int { return len(f.List()) }}
	f.o.Hooks = r
	return f, r
}

func (f *fixture) ops() string {
	s := strings.Join(f.k.log, ", ")
	f.k.log = nil
	return s
}

func TestHooks(t *testing.T) {
	f, r := hooked(t)
	id, err := f.Run(t.Context(), config("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.ops(); got != "mount shm, create sandbox, set up network, release sandbox, hook run" {
		t.Errorf("a start: %s", got)
	}
	f.k.fail = f.k.n + 3 // the network's end
	if err := f.Stop(t.Context(), id); !errors.Is(err, errBoom) {
		t.Errorf("a stop that fails: %v", err)
	}
	for range 2 {
		if err := f.Stop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.ops(); strings.Count(got, "hook stop") != 1 || !strings.HasPrefix(got, "stop containers, hook stop, tear down network") {
		t.Errorf("stops: %s", got)
	}
	if err := f.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := f.ops(); got != "remove containers, hook remove" {
		t.Errorf("a removal: %s", got)
	}
	if _, told := f.told.Load(id); told || r.inside != 0 {
		t.Errorf("left in memory: %v; inside the gate: %d", told, r.inside)
	}
}

func TestHookThatFails(t *testing.T) {
	f, r := hooked(t)
	f.k.fail = 5
	if _, err := f.Run(t.Context(), config("web"), ""); !errors.Is(err, errBoom) {
		t.Fatalf("%v", err)
	}
	delete(f.k.has, "")
	if left := f.left(t); len(left) != 0 || r.inside != 0 {
		t.Errorf("left %v; inside the gate: %d", left, r.inside)
	}
	if _, err := f.Run(t.Context(), config("web"), ""); err != nil {
		t.Errorf("a retry: %v", err)
	}
}
