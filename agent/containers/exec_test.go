package containers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/runtime"
)

// process is an exec of the fake kernel, with its own copies of the descriptors.
type process struct {
	stdio  [3]*os.File
	slave  *os.File
	args   []string
	killed chan struct{}
	once   sync.Once
	done   chan runtime.Exit
	gone   chan struct{}
}

func (k *kernel) Exec(_ context.Context, _ string, e runtime.ExecSpec, _ *specs.Spec) (*runtime.Exec, error) {
	if err := k.do("exec", nil); err != nil {
		return nil, err
	}
	p := &process{args: e.Process.Args, killed: make(chan struct{}), done: make(chan runtime.Exit, 1), gone: make(chan struct{})}
	out := &runtime.Exec{Pid: 43, Done: p.done}
	for i, f := range e.Stdio {
		if f != nil {
			p.stdio[i] = copyOf(f)
		}
	}
	if e.Process.Terminal {
		out.Console, p.slave = newPty()
	}
	k.mu.Lock()
	k.execs[e.ID] = p
	k.mu.Unlock()
	go func() {
		code := k.program(p)
		for _, f := range append(p.stdio[:], p.slave) {
			if f != nil {
				_ = f.Close()
			}
		}
		p.done <- runtime.Exit{Code: code}
		close(p.gone)
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.execs, e.ID)
		k.moved.Broadcast()
	}()
	return out, nil
}

func (k *kernel) KillExec(ctx context.Context, id string) error {
	k.mu.Lock()
	p := k.execs[id]
	k.mu.Unlock()
	if p == nil {
		return lifecycle.ErrNotFound
	}
	if err := k.do("kill exec", nil); err != nil {
		return err
	}
	p.once.Do(func() { close(p.killed) })
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func copyOf(f *os.File) *os.File {
	raw, err := f.SyscallConn()
	if err != nil {
		panic(err)
	}
	var fd int
	_ = raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) })
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(fd), "copy")
}

func newPty() (master, slave *os.File) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		panic(err)
	}
	s, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		panic(errno)
	}
	return os.NewFile(uintptr(fd), "master"), os.NewFile(s, "slave")
}

// books counts goroutines and descriptors, and fails the test if there are more at its end.
func books(t *testing.T) {
	t.Helper()
	count := func() (goroutines, files int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return goruntime.NumGoroutine(), len(entries)
	}
	g, fds := count()
	t.Cleanup(func() {
		var g2, f2 int
		for wait := time.Millisecond; wait < 2*time.Second; wait *= 2 {
			if g2, f2 = count(); g2 <= g && f2 <= fds {
				return
			}
			time.Sleep(wait) // the end of a goroutine is no event
		}
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines and %d files, before it was %d and %d\n%s", g2, f2, g, fds, buf[:goruntime.Stack(buf, true)])
	})
}

// execFixture has a running container whose execs run program.
func execFixture(t *testing.T, program func(*process) int) (*fixture, string) {
	t.Helper()
	f := newFixture(t)
	f.k.program = program
	id := f.running(t, "c")
	books(t)
	return f, id
}

func TestExecSync(t *testing.T) {
	f, id := execFixture(t, func(p *process) int {
		_, _ = io.WriteString(p.stdio[1], "out of "+strings.Join(p.args, " "))
		_, _ = io.WriteString(p.stdio[2], "err")
		return 7
	})
	for range 3 {
		out, errs, code, err := f.ExecSync(t.Context(), id, []string{"a", "b"}, time.Minute)
		if err != nil || string(out) != "out of a b" || string(errs) != "err" || code != 7 {
			t.Errorf("%q %q %d %v", out, errs, code, err)
		}
	}
	if _, _, _, err := f.ExecSync(t.Context(), id, nil, 0); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("no command: %v", err)
	}
	f.k.mu.Lock()
	f.k.fail = f.k.n + 1
	f.k.mu.Unlock()
	if _, _, _, err := f.ExecSync(t.Context(), id, []string{"a"}, 0); !errors.Is(err, errBoom) {
		t.Errorf("a failing launch: %v", err)
	}
	created := f.create(t, "d")
	if _, _, _, err := f.ExecSync(t.Context(), created, []string{"a"}, 0); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("one that does not run: %v", err)
	}
}

// TestExecSyncOutputIsBounded is CVE-2022-31030: more than 16 MiB of an output is thrown away, and the
// process that writes it is not held up.
func TestExecSyncOutputIsBounded(t *testing.T) {
	f, id := execFixture(t, func(p *process) int {
		chunk := bytes.Repeat([]byte("y\n"), 512<<10)
		var both sync.WaitGroup
		for _, w := range p.stdio[1:] {
			both.Go(func() {
				for range 20 {
					_, _ = w.Write(chunk)
				}
			})
		}
		both.Wait()
		return 0
	})
	out, errs, code, err := f.ExecSync(t.Context(), id, []string{"yes"}, time.Minute)
	if err != nil || code != 0 || len(out) != 16<<20 || len(errs) != 16<<20 {
		t.Errorf("%d and %d bytes, %d %v", len(out), len(errs), code, err)
	}
}

func untilKilled(p *process) int { <-p.killed; return 137 }

func TestExecSyncTimeout(t *testing.T) {
	f, id := execFixture(t, func(p *process) int {
		_, _ = io.WriteString(p.stdio[1], "begun")
		return untilKilled(p)
	})
	out, _, _, err := f.ExecSync(t.Context(), id, []string{"sleep"}, 20*time.Millisecond)
	if !errors.Is(err, lifecycle.ErrTimeout) || string(out) != "begun" {
		t.Errorf("%q %v", out, err)
	}
	f.k.await(func() bool { return len(f.k.execs) == 0 })
}

func TestExecSyncClientGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f, id := execFixture(t, func(p *process) int { cancel(); return untilKilled(p) })
	if _, _, _, err := f.ExecSync(ctx, id, []string{"sleep"}, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	f.k.await(func() bool { return len(f.k.execs) == 0 })
}

// TestExecSyncLeftOver is CVE-2026-53495: a child that outlives the exec with its stdout open holds the call
// up for at most drainWait.
func TestExecSyncLeftOver(t *testing.T) {
	var child *os.File
	f, id := execFixture(t, func(p *process) int {
		child = copyOf(p.stdio[1])
		_, _ = io.WriteString(p.stdio[1], "early")
		return 0
	})
	began := time.Now()
	out, _, _, err := f.ExecSync(t.Context(), id, []string{"sh"}, 0)
	if took := time.Since(began); err != nil || string(out) != "early" || took > drainWait+5*time.Second {
		t.Errorf("%q %v after %s", out, err, took)
	}
	if err := child.Close(); err != nil {
		t.Error(err)
	}
}

// sink is a client's stream; it is full when its channel is.
type sink struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *sink) Close() error { return nil }
func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestExecStreams(t *testing.T) {
	f, id := execFixture(t, func(p *process) int {
		in, _ := io.ReadAll(p.stdio[0])
		_, _ = p.stdio[1].Write(bytes.ToUpper(in))
		_, _ = io.WriteString(p.stdio[2], "done")
		return 3
	})
	var out, errs sink
	code, err := f.Exec(t.Context(), id, []string{"tr"}, Streams{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs})
	if code != 3 || err != nil || out.String() != "HELLO" || errs.String() != "done" {
		t.Errorf("%d %v %q %q", code, err, &out, &errs)
	}
}

// TestExecWithOpenStdin: the exec ends while the client's stdin stays open; its pipe goes with the exec, its reader
// with the client.
func TestExecWithOpenStdin(t *testing.T) {
	f, id := execFixture(t, func(p *process) int { return 0 })
	r, w := io.Pipe()
	files := func() int { entries, _ := os.ReadDir("/proc/self/fd"); return len(entries) }
	before := files()
	if code, err := f.Exec(t.Context(), id, []string{"true"}, Streams{Stdin: r}); code != 0 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	f.k.await(func() bool { return len(f.k.execs) == 0 })
	if n := files(); n != before {
		t.Errorf("%d files, before it was %d", n, before)
	}
	_ = w.Close()
}

func TestExecClientGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f, id := execFixture(t, func(p *process) int { cancel(); return untilKilled(p) })
	var out sink
	if _, err := f.Exec(ctx, id, []string{"sleep"}, Streams{Stdout: &out}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// slow takes its time for the first write, longer than an exec's left-overs are waited for.
type slow struct {
	sink
	wait func()
	once sync.Once
}

func (s *slow) Write(p []byte) (int, error) {
	s.once.Do(s.wait)
	return s.sink.Write(p[:min(len(p), 1000)])
}

// TestExecSlowClient: what the process wrote before its end reaches a client that is slower than drainWait.
func TestExecSlowClient(t *testing.T) {
	first := make(chan struct{})
	f, id := execFixture(t, func(p *process) int {
		_, _ = io.WriteString(p.stdio[1], "a")
		<-first // the client holds it
		_, _ = p.stdio[1].Write(bytes.Repeat([]byte("b"), 900))
		return 0
	})
	out := &slow{wait: func() {
		close(first)
		f.k.await(func() bool { return len(f.k.execs) == 0 })
		time.Sleep(drainWait + 100*time.Millisecond) // the clock is what is tested
	}}
	if _, err := f.Exec(t.Context(), id, []string{"x"}, Streams{Stdout: out}); err != nil || len(out.String()) != 901 {
		t.Errorf("%d bytes %v", len(out.String()), err)
	}
}

func TestExecTerminal(t *testing.T) {
	resized := make(chan struct{})
	f, id := execFixture(t, func(p *process) int {
		<-resized
		for {
			w, err := unix.IoctlGetWinsize(int(p.slave.Fd()), unix.TIOCGWINSZ)
			if err != nil || w.Row == 33 && w.Col == 77 {
				break
			}
			time.Sleep(time.Millisecond) // SIGWINCH would be the event
		}
		return 5
	})
	var out sink
	r, w := io.Pipe()
	sizes := make(chan Size)
	go func() { sizes <- Size{33, 77}; close(resized) }()
	code, err := f.Exec(t.Context(), id, []string{"sh"}, Streams{Stdin: r, Stdout: &out, TTY: true, Resize: sizes})
	if code != 5 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	_ = w.Close()
}

// TestExecTerminalLeftOver: a child keeps the terminal open after the exec's end.
func TestExecTerminalLeftOver(t *testing.T) {
	var child *os.File
	f, id := execFixture(t, func(p *process) int { child = copyOf(p.slave); return 0 })
	var out sink
	began := time.Now()
	if _, err := f.Exec(t.Context(), id, []string{"sh"}, Streams{Stdout: &out, TTY: true}); err != nil || time.Since(began) > drainWait+5*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	_ = child.Close()
}

func TestAttachIsRefused(t *testing.T) {
	f := newFixture(t)
	id := f.running(t, "c")
	f.k.mu.Lock()
	f.k.fail = f.k.n + 1
	f.k.mu.Unlock()
	if err := f.Attach(t.Context(), id, Streams{}); !errors.Is(err, errBoom) {
		t.Errorf("%v", err)
	}
	if err := f.Stop(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Attach(t.Context(), id, Streams{}); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("exited: %v", err)
	}
	if err := f.Attach(t.Context(), "nobody", Streams{}); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}
