package containers

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

func TestReasons(t *testing.T) {
	for want, x := range map[string]runtime.Exit{
		"Completed": {},
		"Error":     {Code: 3},
		"OOMKilled": {Code: 137, Signal: 9, OOMKilled: true},
		"Unknown":   {Code: 255, Unknown: true},
	} {
		f := newFixture(t)
		id := f.running(t, "c")
		f.k.end(id, x)
		v := f.awaitExit(t, id)
		if v.State != lifecycle.ContainerExited || v.Reason != want || v.ExitCode != x.Code || v.FinishedAt.Unix() != 200 {
			t.Errorf("%s: %+v", want, v)
		}
		if (v.Message != "") != x.Unknown {
			t.Errorf("%s: message %q", want, v.Message)
		}
		f.exit(runtime.Exit{ID: id, Code: 99, FinishedAt: time.Unix(300, 0)})
		if v := f.get(t, id); v.ExitCode != x.Code || v.FinishedAt.Unix() != 200 {
			t.Errorf("%s: a second exit is taken for the first: %+v", want, v)
		}
	}
}

// TestExitBeforeStarted: a short program's exit is told before Start's answer.
func TestExitBeforeStarted(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "c")
	f.k.start = func(id string) error {
		f.exit(runtime.Exit{ID: id, Code: 4, StartedAt: time.Unix(90, 0), FinishedAt: time.Unix(91, 0)})
		return nil
	}
	if err := f.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerExited || v.ExitCode != 4 || v.StartedAt.Unix() != 90 {
		t.Errorf("%+v", v)
	}
}

// TestStartError: the program cannot be executed; its process's exit is told before or after.
func TestStartError(t *testing.T) {
	exit := runtime.Exit{Code: 1, FinishedAt: time.Unix(91, 0)}
	for _, first := range []bool{true, false} {
		f := newFixture(t)
		id := f.create(t, "c")
		exit.ID = id
		f.k.start = func(string) error {
			if first {
				f.exit(exit)
			}
			return syscall.ENOENT
		}
		if err := f.Start(t.Context(), id); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("start: %v", err)
		}
		if !first {
			f.exit(exit)
		}
		v := f.awaitExit(t, id)
		if v.State != lifecycle.ContainerExited || v.ExitCode != 128 || v.Reason != "StartError" || v.Message == "" || v.Pid != 0 {
			t.Errorf("exit first %v: %+v", first, v)
		}
		if err := f.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
		f.balanced(t, "removed")
	}
}

// TestStartGoesOnWhenItsCallerLeaves: a gate that is open cannot be closed, so the outcome is recorded.
func TestStartGoesOnWhenItsCallerLeaves(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "c")
	ctx, cancel := context.WithCancel(t.Context())
	f.k.start = func(string) error { cancel(); return nil }
	if err := f.Start(ctx, id); err != nil {
		t.Errorf("start: %v", err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerRunning {
		t.Errorf("state %s", v.State)
	}
}

// TestStartWithoutAnAnswer: the monitor is lost half-way. A retry takes the start up, and a stop
// is polite to what may be running.
func TestStartWithoutAnAnswer(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "c")
	f.k.start = func(string) error { return lifecycle.ErrUnavailable }
	if err := f.Start(t.Context(), id); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerStarting {
		t.Errorf("state %s", v.State)
	}
	f.k.onSignal = func(id string, _ syscall.Signal) { f.k.end(id, runtime.Exit{}) }
	if err := f.Stop(t.Context(), id, time.Minute); err != nil {
		t.Error(err)
	}
	if v := f.awaitExit(t, id); v.Reason != "Completed" {
		t.Errorf("%+v", v)
	}

	again := f.create(t, "d")
	if err := f.Start(t.Context(), again); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	f.k.start = nil
	if err := f.Start(t.Context(), again); err != nil {
		t.Errorf("retry: %v", err)
	}
	if v := f.get(t, again); v.State != lifecycle.ContainerRunning {
		t.Errorf("state %s", v.State)
	}
}

// TestStartUnrecorded: without the intent the gate stays shut; a fact that cannot be written is still one.
func TestStartUnrecorded(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "c")
	f.failSave(1)
	if err := f.Start(t.Context(), id); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerCreated {
		t.Errorf("state %s", v.State)
	}
	f.failSave(2)
	if err := f.Start(t.Context(), id); err != nil {
		t.Errorf("it runs, but: %v", err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerRunning {
		t.Errorf("state %s", v.State)
	}
	f.failSave(1)
	f.k.end(id, runtime.Exit{Code: 3})
	if v := f.awaitExit(t, id); v.State != lifecycle.ContainerExited || v.ExitCode != 3 {
		t.Errorf("%+v", v)
	}
}

func TestStartInAStoppedPod(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, "c")
	f.pod.v.State = lifecycle.PodStopping
	if err := f.Start(t.Context(), id); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("%v", err)
	}
}
