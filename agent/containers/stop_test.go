package containers

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

func TestStopWithGrace(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	f.k.onSignal = func(id string, sig syscall.Signal) {
		if sig == syscall.SIGTERM {
			f.k.end(id, runtime.Exit{Code: 0})
		}
	}
	if err := f.Stop(t.Context(), id, time.Minute); err != nil {
		t.Fatal(err)
	}
	if v := f.awaitExit(t, id); v.ExitCode != 0 || v.Reason != "Completed" || strings.Contains(f.k.ops(), "kill") {
		t.Errorf("%+v after %s", v, f.k.ops())
	}
}

func TestStopKillsAfterGrace(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	if err := f.Stop(t.Context(), id, 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if v := f.get(t, id); v.ExitCode != 137 || !strings.Contains(f.k.ops(), "start, signal terminated, kill") {
		t.Errorf("%+v after %s", v, f.k.ops())
	}
}

func TestStopOfACreatedOne(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "c")
	if err := f.Stop(t.Context(), id, time.Minute); err != nil {
		t.Fatal(err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerExited || strings.Contains(f.k.ops(), "signal") {
		t.Errorf("%+v after %s", v, f.k.ops())
	}
}

// TestStopInterrupted: the caller leaves during the grace period; the slot is free meanwhile, and a
// repeated stop finishes.
func TestStopInterrupted(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	ctx, cancel := context.WithCancel(t.Context())
	signalled := make(chan struct{}, 2)
	f.k.onSignal = func(string, syscall.Signal) { signalled <- struct{}{} }
	stopped := make(chan error)
	go func() { stopped <- f.Stop(ctx, id, time.Hour) }()
	<-signalled
	if err := f.ReopenLog(t.Context(), id); err != nil {
		t.Errorf("another verb during the grace period: %v", err)
	}
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerRunning {
		t.Errorf("state %s", v.State)
	}
	if err := f.Stop(t.Context(), id, 0); err != nil {
		t.Error(err)
	}
}

// TestStopFailsAtEachOperation: what fails is finished by the next call.
func TestStopFailsAtEachOperation(t *testing.T) {
	for n := 1; n <= 2; n++ { // signal, kill
		f := newFixture(t)
		id := f.running(t, "c")
		f.k.mu.Lock()
		f.k.fail = f.k.n + n
		f.k.mu.Unlock()
		if err := f.Stop(t.Context(), id, time.Millisecond); !errors.Is(err, errBoom) {
			t.Errorf("operation %d: %v", n, err)
		}
		if err := f.Remove(t.Context(), id); err != nil {
			t.Errorf("operation %d, removal: %v", n, err)
		}
		f.balanced(t, "removed after a failed stop")
	}
}

func TestKilledButNotGone(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	f.k.immortal = true
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := f.Stop(ctx, id, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	f.k.immortal = false
	if err := f.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// TestRemoveFailsAtEachOperation: the removal of a running container is taken up by the next call.
func TestRemoveFailsAtEachOperation(t *testing.T) {
	for n := 1; n <= 2; n++ { // kill; a delete, of the removal or of the exit
		f := newFixture(t)
		id := f.running(t, "c")
		f.k.mu.Lock()
		f.k.fail = f.k.n + n
		f.k.mu.Unlock()
		if err := f.Remove(t.Context(), id); n == 1 && !errors.Is(err, errBoom) {
			t.Errorf("operation %d: %v", n, err)
		}
		if err := f.Remove(t.Context(), id); err != nil {
			t.Errorf("operation %d, again: %v", n, err)
		}
		f.balanced(t, "removed at the second call")
	}
}

// TestRemoveOnAFullDisk: a removal is what makes room.
func TestRemoveOnAFullDisk(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	f.save = func(string, *Container) error { return syscall.ENOSPC }
	if err := f.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
	f.balanced(t, "removed")
}

func TestPodVerbs(t *testing.T) {
	f := newFixture(t)
	ids := []string{f.running(t, "a"), f.create(t, "b"), f.running(t, "c")}
	if err := f.StopPod(t.Context(), "pod-1"); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if v := f.get(t, id); v.State != lifecycle.ContainerExited || f.k.holds("process "+id) {
			t.Errorf("stopped: %+v, left %v", v, f.left())
		}
	}
	if err := f.RemovePod(t.Context(), "pod-2"); err != nil || len(f.List()) != 3 {
		t.Errorf("another pod: %v", err)
	}
	for range 2 {
		if err := f.RemovePod(t.Context(), "pod-1"); err != nil {
			t.Fatal(err)
		}
	}
	f.balanced(t, "removed with the pod")
}
