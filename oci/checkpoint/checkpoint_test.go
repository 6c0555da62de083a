package checkpoint_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/checkpoint"
	"github.com/slipway-cri/slipway/oci/checkpoint/child"
)

// end gives the child's end as a descriptor of its own, as a clone would.
func end(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestGate(t *testing.T) {
	for _, tc := range []struct {
		name string
		act  func(*checkpoint.Gate) error
		want error
	}{
		{"released", (*checkpoint.Gate).Release, nil},
		{"aborted", func(g *checkpoint.Gate) error { g.Abort(); return nil }, checkpoint.ErrAborted},
		{"released, then aborted", func(g *checkpoint.Gate) error {
			err := g.Release()
			g.Abort()
			return err
		}, nil},
		{"a wrong token", func(g *checkpoint.Gate) error {
			_, err := g.WriteEnd().Write([]byte{'x'})
			return err
		}, checkpoint.ErrMalformed},
		{"two tokens", func(g *checkpoint.Gate) error {
			_, err := g.WriteEnd().Write([]byte{child.Token, child.Token})
			return err
		}, checkpoint.ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, err := checkpoint.New()
			if err != nil {
				t.Fatal(err)
			}
			defer g.Abort()
			fd := end(t, g.ChildEnd())
			g.CloseChild()
			done := make(chan error, 1)
			go func() { done <- checkpoint.Wait(fd) }()
			if err := tc.act(g); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Errorf("Wait = %v, want %v", err, tc.want)
			}
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				t.Error("Wait left the descriptor open")
			}
		})
	}
}

// TestTokenIsNotEnough: the child waits for EOF too, so that "released" means that the
// parent has closed its end.
func TestTokenIsNotEnough(t *testing.T) {
	g, err := checkpoint.New()
	if err != nil {
		t.Fatal(err)
	}
	mirror := os.NewFile(uintptr(end(t, g.WriteEnd())), "mirror")
	fd := end(t, g.ChildEnd())
	g.CloseChild()
	done := make(chan error, 1)
	go func() { done <- checkpoint.Wait(fd) }()
	if err := g.Release(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("went on before EOF: %v", err)
	case <-time.After(20 * time.Millisecond): // that nothing happens has no event
	}
	mirror.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := g.Release(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second release: %v", err)
	}
}

func TestReleaseWithoutChild(t *testing.T) {
	g, err := checkpoint.New()
	if err != nil {
		t.Fatal(err)
	}
	g.CloseChild()
	if err := g.Release(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("release: %v", err)
	}
}

func report(t *testing.T) (*checkpoint.ReportConn, int) {
	t.Helper()
	parent, f, err := checkpoint.NewReport()
	if err != nil {
		t.Fatal(err)
	}
	fd := end(t, f)
	f.Close()
	t.Cleanup(func() { parent.Close(); unix.Close(fd) })
	return parent, fd
}

func TestReports(t *testing.T) {
	parent, fd := report(t)
	long := strings.Repeat("x", 3*child.MaxReport)
	master, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	for _, err := range []error{
		child.SendConsole(fd, int(master.Fd())), child.SendReady(fd),
		child.SendFailure(fd, "mount", "/a", int(syscall.EACCES), "why"), child.SendFailure(fd, "exec", long, 0, long),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := parent.Receive()
	if err != nil || r.Kind != checkpoint.Console || r.FD < 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(r.FD, &st); err != nil || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("another file came: %v", err)
	}
	if flags, err := unix.FcntlInt(uintptr(r.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Error("the console is not close-on-exec")
	}
	unix.Close(r.FD)
	if r, err := parent.Receive(); err != nil || r.Kind != checkpoint.Ready || r.FD != -1 {
		t.Errorf("%+v, %v", r, err)
	}
	want := checkpoint.Report{Kind: checkpoint.Failure, Step: "mount", Path: "/a", Errno: 13, Message: "why", FD: -1}
	if r, err := parent.Receive(); err != nil || r != want {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := parent.Receive(); err != nil || r.Step != "exec" || len(r.Message) == 0 {
		t.Errorf("a long report: %v", err)
	}
	unix.Close(fd)
	if _, err := parent.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
}

// TestHostileReports: what breaks the protocol is an error, and its descriptors do not stay.
func TestHostileReports(t *testing.T) {
	parent, fd := report(t)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	n := int(null.Fd())
	before := open(t)
	for name, m := range map[string]struct {
		body []byte
		fds  []int
	}{
		"unknown kind":         {[]byte{9}, nil},
		"ready with a file":    {(&child.Report{Kind: child.Ready}).Encode(), []int{n}},
		"console without":      {(&child.Report{Kind: child.Console}).Encode(), nil},
		"console with two":     {(&child.Report{Kind: child.Console}).Encode(), []int{n, n}},
		"too long":             {make([]byte, child.MaxReport+1), nil},
		"too many descriptors": {[]byte{2}, make([]int, 100)},
		"trailing":             {[]byte{1, 1}, nil},
	} {
		for i := range m.fds {
			m.fds[i] = n
		}
		if err := unix.Sendmsg(fd, m.body, unix.UnixRights(m.fds...), nil, 0); err != nil {
			t.Fatal(err)
		}
		if r, err := parent.Receive(); !errors.Is(err, checkpoint.ErrMalformed) || r.FD != -1 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if after := open(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func open(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestDeadline(t *testing.T) {
	parent, _ := report(t)
	if err := parent.SetDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := parent.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&child.Report{Kind: child.Ready}).Encode())
	f.Add((&child.Report{Kind: child.Failure, Step: "mount", Path: "/x", Errno: 2, Message: "m"}).Encode())
	f.Add([]byte{3, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := child.Decode(b)
		if err != nil {
			if r.FD != -1 {
				t.Error("a descriptor from nowhere")
			}
			return
		}
		if r.Kind < child.Ready || r.Kind > child.Failure || r.Errno < 0 || len(r.Step)+len(r.Path)+len(r.Message) > len(b) {
			t.Errorf("%+v", r)
		}
	})
}
