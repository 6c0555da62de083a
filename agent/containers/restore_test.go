package containers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// recover starts a new agent over what there is, with what the monitor says.
func (f *fixture) recover(t *testing.T, bootID string, live ...runtime.Live) {
	t.Helper()
	f.restart(bootID)
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	if err := f.Reconcile(t.Context(), live); err != nil {
		t.Error(err)
	}
}

// TestKilledAtEachOperation cuts a creation off after each operation, as kill -9 does; the next agent
// cleans up and the creation can be repeated.
func TestKilledAtEachOperation(t *testing.T) {
	for n := 1; n <= 5; n++ {
		f := newFixture(t)
		f.k.die = n
		go func(c *Containers) { _, _ = c.Create(context.Background(), "pod-1", config("c"), nil) }(f.Containers)
		<-f.k.died
		var live []runtime.Live
		for id := range f.k.alive {
			live = append(live, runtime.Live{ID: id, Pid: 42})
		}
		f.recover(t, "boot-1", live...)
		f.balanced(t, fmt.Sprintf("killed after %q", f.k.log[n-1]))
		f.create(t, "c")
	}
}

// TestKilledDuringRemove: a removal that was cut off is finished.
func TestKilledDuringRemove(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	f.k.end(id, runtime.Exit{})
	f.awaitExit(t, id)
	f.k.mu.Lock()
	f.k.die = f.k.n + 1
	f.k.mu.Unlock()
	go func(c *Containers) { _ = c.Remove(context.Background(), id) }(f.Containers)
	<-f.k.died
	f.recover(t, "boot-1")
	f.balanced(t, "a removal was cut off")
}

// TestKilledDuringStart: the next agent believes the monitor.
func TestKilledDuringStart(t *testing.T) {
	for _, running := range []bool{true, false} {
		f := newFixture(t)
		id := f.create(t, "c")
		f.k.mu.Lock()
		f.k.die = f.k.n + 1
		f.k.mu.Unlock()
		go func(c *Containers) { _ = c.Start(context.Background(), id) }(f.Containers)
		<-f.k.died
		f.recover(t, "boot-1", runtime.Live{ID: id, Pid: 42, Running: running, StartedAt: time.Unix(100, 0)})
		want := lifecycle.ContainerCreated
		if running {
			want = lifecycle.ContainerRunning
		}
		if v := f.get(t, id); v.State != want {
			t.Errorf("running %v: %+v", running, v)
		}
	}
}

// TestReconcile is every stable state against everything that the monitor may say.
func TestReconcile(t *testing.T) {
	const (
		created, running, exited = lifecycle.ContainerCreated, lifecycle.ContainerRunning, lifecycle.ContainerExited
	)
	gone := (*runtime.Live)(nil)
	waiting := &runtime.Live{Pid: 50}
	runs := &runtime.Live{Pid: 50, Running: true, StartedAt: time.Unix(100, 0)}
	ended := &runtime.Live{Exit: &runtime.Exit{Code: 3, FinishedAt: time.Unix(150, 0)}}
	for _, c := range []struct {
		recorded, want lifecycle.ContainerState
		live           *runtime.Live
		code           int
		reason         string
	}{
		{created, exited, gone, 255, "Unknown"},
		{created, created, waiting, 0, ""},
		{created, running, runs, 0, ""},
		{created, exited, ended, 3, "Error"},
		{running, exited, gone, 255, "Unknown"},
		{running, running, runs, 0, ""},
		{running, exited, ended, 3, "Error"},
		{exited, exited, gone, 9, "Error"},
		{exited, exited, ended, 9, "Error"},
	} {
		f := newFixture(t)
		id := f.create(t, "c")
		if c.recorded != created {
			if err := f.Start(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if c.recorded == exited {
			f.k.end(id, runtime.Exit{Code: 9})
			f.awaitExit(t, id)
		}
		f.k.mu.Lock()
		f.k.exited = nil // what ends now, no agent is told
		if c.live == nil || c.live.Exit != nil {
			delete(f.k.alive, id)
		}
		f.k.mu.Unlock()
		var live []runtime.Live
		if c.live != nil {
			l := *c.live
			if l.ID = id; l.Exit != nil {
				x := *l.Exit
				x.ID, l.Exit = id, &x
			}
			live = append(live, l)
		}
		f.recover(t, "boot-1", live...)
		v := f.get(t, id)
		if v.State != c.want || v.ExitCode != c.code || v.Reason != c.reason {
			t.Errorf("%s with %+v: %+v", c.recorded, c.live, v)
		}
		if c.want == running && (v.Pid != 50 || v.StartedAt.Unix() != 100) {
			t.Errorf("%s with %+v: %+v", c.recorded, c.live, v)
		}
		if !f.k.holds("use " + id) {
			t.Errorf("%s: the image's layers are not in use", c.recorded)
		}
		if v.User == nil || v.StopSignal != "SIGTERM" || len(v.Config.GetCommand()) != 2 {
			t.Errorf("%s: lost of its record: %+v", c.recorded, v)
		}
		if c.want == exited { // what it still had in the kernel is given back
			f.awaitExit(t, id)
		}
		if err := f.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
		f.balanced(t, "removed after recovery")
	}
}

// TestExitDuringReconcile: a container exits between the monitor's list and its use.
func TestExitDuringReconcile(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	f.restart("boot-1")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	e := f.inv.Peek(id)
	stale := runtime.Live{ID: id, Pid: 42, Running: true}
	f.exit(runtime.Exit{ID: id, Code: 3, FinishedAt: time.Unix(150, 0)})
	if err := f.live(e, &stale); err != nil {
		t.Error(err)
	}
	if v := f.get(t, id); v.State != lifecycle.ContainerExited || v.ExitCode != 3 || v.Pid != 0 {
		t.Errorf("%+v", v)
	}
}

func TestReboot(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	f.k.alive, f.k.has = map[string]bool{}, map[string]bool{}
	f.recover(t, "boot-2")
	v := f.get(t, id)
	if v.State != lifecycle.ContainerExited || v.ExitCode != 255 || v.Reason != "Unknown" || v.Pid != 0 {
		t.Errorf("%+v", v)
	}
	f.recover(t, "boot-2")
	if again := f.get(t, id); !again.FinishedAt.Equal(v.FinishedAt) {
		t.Errorf("its end moves at each start: %s, then %s", v.FinishedAt, again.FinishedAt)
	}
}

// TestRebootDuringCreate: what was never complete does not come back as an exited container.
func TestRebootDuringCreate(t *testing.T) {
	f := newFixture(t)
	f.k.die = 5
	go func(c *Containers) { _, _ = c.Create(context.Background(), "pod-1", config("c"), nil) }(f.Containers)
	<-f.k.died
	f.k.alive, f.k.has = map[string]bool{}, map[string]bool{}
	f.recover(t, "boot-2")
	f.balanced(t, "a reboot cut a creation off")
}

func TestBadRecordIsSetAside(t *testing.T) {
	f := newFixture(t)
	torn, foreign, good := f.running(t, "a"), f.running(t, "b"), f.running(t, "c")
	if err := os.Truncate(filepath.Join(f.l.ContainerDir(torn), "record"), 40); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Write(foreign, []byte(`{"ID":"another"}`)); err != nil {
		t.Fatal(err)
	}
	f.recover(t, "boot-1",
		runtime.Live{ID: torn, Pid: 1, Running: true}, runtime.Live{ID: foreign, Pid: 2, Running: true},
		runtime.Live{ID: good, Pid: 3, Running: true},
		runtime.Live{ID: "holder", Holder: true}, runtime.Live{ID: "exec", Exec: true})
	if all := f.List(); len(all) != 1 || all[0].ID != good || all[0].State != lifecycle.ContainerRunning {
		t.Errorf("%+v", all)
	}
	f.k.await(func() bool { return len(f.k.alive) == 1 }) // the processes without a record are ended
	if n := strings.Count(f.k.ops(), "delete"); n != 2 {
		t.Errorf("%d deletions: %s", n, f.k.ops())
	}
	f.recover(t, "boot-1", runtime.Live{ID: good, Pid: 3, Running: true})
	left := f.left()
	if slices.Contains(left, "records/"+torn) || slices.Contains(left, "records/"+foreign) {
		t.Errorf("the start after that leaves %v", left)
	}
}

// TestReconcileOnAFullDisk: what the monitor says holds though it cannot be written.
func TestReconcileOnAFullDisk(t *testing.T) {
	f := newFixture(t)
	a, b := f.running(t, "a"), f.running(t, "b")
	f.restart("boot-1")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	f.save = func(string, *Container) error { return syscall.ENOSPC }
	if err := f.Reconcile(t.Context(), []runtime.Live{{ID: a, Pid: 7, Running: true}, {ID: b, Pid: 8, Running: true}}); err != nil {
		t.Error(err)
	}
	for _, id := range []string{a, b} {
		if v := f.get(t, id); v.State != lifecycle.ContainerRunning || v.Pid < 7 {
			t.Errorf("%+v", v)
		}
	}
}
