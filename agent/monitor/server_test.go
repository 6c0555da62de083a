package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/wire"
)

// serveHere runs a server without processes inside the test.
func serveHere(t *testing.T) (s *server, socket string) {
	t.Helper()
	dir := t.TempDir()
	socket = filepath.Join(dir, "s")
	s, err := newServer(dir, nil, DefaultMaxLine)
	if err != nil {
		t.Fatal(err)
	}
	ln, lock, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.accept(ln)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		lock.Close()
		s.loop.close()
	})
	return s, socket
}

func exitedEntry(s *server, id string) *entry {
	e := newEntry(s, &LaunchRequest{ID: id, Kind: KindContainer})
	e.exit = &Exit{ID: id, Code: 1, StartedAt: time.Unix(1, 0), FinishedAt: time.Unix(2, 0)}
	e.told = true
	close(e.settled)
	close(e.done)
	return e
}

func TestListOfManyPages(t *testing.T) {
	s, socket := serveHere(t)
	const count = 1000
	for i := range count {
		if err := s.insert(exitedEntry(s, fmt.Sprintf("%s-%04d", strings.Repeat("x", 150), i))); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	list, err := c.List(t.Context())
	if err != nil || len(list) != count {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	for i, p := range list {
		if !strings.HasSuffix(p.ID, fmt.Sprintf("-%04d", i)) || p.Exit == nil {
			t.Fatalf("entry %d is %+v", i, p)
		}
	}
}

func TestOtherVersions(t *testing.T) {
	_, socket := serveHere(t)
	for name, hello := range map[string][]uint64{"newer": {msgHello, Version + 1}, "odd": {77}, "request": {msgRequest, Version}} {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
			t.Fatal(err)
		}
		conn, err := newPacketConn(fd)
		if err != nil {
			t.Fatal(err)
		}
		w := &wire.Writer{}
		for _, v := range hello {
			w.Uint(v)
		}
		if err := conn.send(w.Bytes()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, MaxMessage)
		m, _, err := conn.recv(buf)
		if err != nil {
			t.Fatal(err)
		}
		r := wire.NewReader(buf[:m])
		r.Uint()
		r.Uint()
		r.Uint()
		if err := decodeError(r); !errors.Is(err, lifecycle.ErrUnsupported) || !strings.Contains(err.Error(), "version") {
			t.Errorf("%s: %v", name, err)
		}
		conn.close()
	}
}

// TestMonitorOfAnotherVersion: the client says what it met.
func TestMonitorOfAnotherVersion(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ln, lock, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	defer ln.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(ln.Fd()), Events: unix.POLLIN}}, 10000)
		fd, _, err := unix.Accept(int(ln.Fd()))
		if err != nil {
			t.Error(err)
			return
		}
		conn, err := newPacketConn(fd)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.close()
		if _, _, err := conn.recv(make([]byte, MaxMessage)); err != nil {
			t.Error(err)
		}
		w := &wire.Writer{}
		w.Uint(msgWelcome)
		w.Uint(Version + 1)
		w.Uint(1)
		encodeError(w, nil)
		_ = conn.send(w.Bytes())
	}()
	_, err = Dial(t.Context(), socket)
	<-served
	if !errors.Is(err, lifecycle.ErrUnsupported) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("dial: %v", err)
	}
}

func TestLongSocketPath(t *testing.T) {
	socket := filepath.Join(t.TempDir(), strings.Repeat("x", 150), "s")
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, lock, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	defer ln.Close()
	s, err := newServer(t.TempDir(), nil, DefaultMaxLine)
	if err != nil {
		t.Fatal(err)
	}
	defer s.loop.close()
	go func() { _ = s.accept(ln) }()
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if list, err := c.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestDialNobody(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if _, err := Dial(t.Context(), socket); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("no socket: %v", err)
	}
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), socket); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("no listener: %v", err)
	}
}

// TestDialSilence: a monitor that accepts and says nothing does not hold Dial for ever.
func TestDialSilence(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ln, lock, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, socket); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial: %v", err)
	}
}

// TestExitsWait: a consumer that comes late misses none, and the answers do not wait for it.
func TestExitsWait(t *testing.T) {
	s, socket := serveHere(t)
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.List(t.Context()); err != nil { // it is the agent now
		t.Fatal(err)
	}
	const count = 5000
	for i := range count {
		s.tell(&Exit{ID: fmt.Sprint(i)})
	}
	if _, err := c.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	agent := s.agent
	s.mu.Unlock()
	agent.close()
	<-c.Done()
	next := 0
	for e := range c.Exits() {
		if e.ID != fmt.Sprint(next) {
			t.Fatalf("exit %s, want %d", e.ID, next)
		}
		next++
	}
	if next != count {
		t.Errorf("%d exits of %d", next, count)
	}
}

func TestFlags(t *testing.T) {
	o, err := parseFlags([]string{"--state", "/s", "--init", "/i"}, io.Discard)
	if err != nil || o.socket != "/s/monitor.sock" || o.exits != "/s/exits" || o.init != "/i" || o.maxLine != DefaultMaxLine {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{nil, {"--socket", "/s"}, {"--state", "/s", "--max-log-line", "0"}, {"--nothing"}} {
		if _, err := parseFlags(args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
