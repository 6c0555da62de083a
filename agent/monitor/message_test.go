package monitor

import (
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/wire"
)

func TestLaunchRequestTravels(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	q := LaunchRequest{
		ID: "a", Kind: KindExec, Target: "b", CloneFlags: 1 << 40, Config: null, Stdio: [3]*os.File{nil, null, nil},
		Terminal: true, Stdin: true, StdinOnce: true, LogPath: "/l", OOMFile: "/o",
	}
	w := &wire.Writer{}
	var fds []int
	for _, fd := range q.encode(w) {
		n, err := dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, n)
	}
	var got LaunchRequest
	if err := got.decode(wire.NewReader(w.Bytes()), fds); err != nil {
		t.Fatal(err)
	}
	defer got.close()
	for i, f := range got.files() {
		if (*f != nil) != (*q.files()[i] != nil) {
			t.Errorf("descriptor %d is there: %t", i, *f != nil)
		}
	}
	plain := func(q LaunchRequest) LaunchRequest {
		q.Config, q.Stdio = nil, [3]*os.File{}
		return q
	}
	if !reflect.DeepEqual(plain(got), plain(q)) {
		t.Errorf("got %+v", got)
	}
}

func TestLaunchRequestWithWrongDescriptors(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	q := LaunchRequest{ID: "a", Kind: KindHolder, Config: null, Cgroup: null}
	w := &wire.Writer{}
	q.encode(w)
	for n := range 5 {
		var fds []int
		for range n {
			fd, err := dup(int(null.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, fd)
		}
		var got LaunchRequest
		err := got.decode(wire.NewReader(w.Bytes()), fds)
		if (err == nil) != (n == 2) {
			t.Errorf("%d descriptors: %v", n, err)
		}
		got.close()
		for _, fd := range fds {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				t.Errorf("descriptor %d of %d is left open", fd, n)
			}
		}
	}
}

func TestErrorsTravel(t *testing.T) {
	for _, err := range []error{
		nil,
		&LaunchError{Step: "mount", Path: "/x", Message: "m", Errno: 5},
		errors.New("plain"),
	} {
		w := &wire.Writer{}
		encodeError(w, err)
		got := decodeError(wire.NewReader(w.Bytes()))
		if (got == nil) != (err == nil) || err != nil && got.Error() != err.Error() {
			t.Errorf("%v became %v", err, got)
		}
	}
	for _, kind := range errorKinds {
		w := &wire.Writer{}
		encodeError(w, errors.Join(errors.New("x"), kind))
		if got := decodeError(wire.NewReader(w.Bytes())); !errors.Is(got, kind) {
			t.Errorf("%v became %v", kind, got)
		}
	}
	if !errors.Is(decodeError(wire.NewReader([]byte{statusKinds, 0})), lifecycle.ErrNotFound) {
		t.Error("the first kind has moved: the protocol's numbers must stay")
	}
}

func TestProcessTravels(t *testing.T) {
	at := time.Unix(5, 6)
	for _, p := range []Process{
		{ID: "a", Kind: KindHolder, State: StateWaiting, Pid: 7},
		{ID: "b", Kind: KindExec, State: StateExited, StartedAt: at,
			Exit: &Exit{ID: "b", Code: 137, Signal: 9, OOMKilled: true, StartedAt: at, FinishedAt: at.Add(1)}},
	} {
		w := &wire.Writer{}
		p.encode(w)
		r := wire.NewReader(w.Bytes())
		if got := decodeProcess(r); r.Err() != nil || r.Len() != 0 || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v became %+v", p, got)
		}
	}
}

// FuzzHandle sends what no agent would to the server's decoder; it must refuse or ignore
// it, and start nothing.
func FuzzHandle(f *testing.F) {
	for o := opLaunch; o <= opShutdown+1; o++ {
		f.Add(uint64(o), []byte{1, 'a', 1, 0})
		f.Add(uint64(o), []byte{})
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, o uint64, body []byte) {
		s, err := newServer(dir, nil, DefaultMaxLine)
		if err != nil {
			t.Fatal(err)
		}
		defer s.loop.close()
		ans := answer{w: &wire.Writer{}}
		err = s.handle(op(o), wire.NewReader(body), nil, &ans)
		if err == nil && op(o) != opForget && op(o) != opList && op(o) != opShutdown {
			t.Fatalf("request %d %q was accepted", o, body)
		}
		if len(s.entries) != 0 {
			t.Fatal("an entry is left")
		}
	})
}
