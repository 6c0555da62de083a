package server

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestListenModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "cri.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]fs.FileMode{path: 0o600 | fs.ModeSocket, filepath.Dir(path): 0o700 | fs.ModeDir} {
		if st, err := os.Stat(p); err != nil || st.Mode() != want {
			t.Errorf("%s: %v %v, want %v", p, st.Mode(), err, want)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestListenStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cri.sock")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("a socket in use: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed agent leaves it
	_ = first.Close()
	second, err := Listen(path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	_ = second.Close()
}

func TestListenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, "relative.sock", "/" + strings.Repeat("x", 107)} {
		if _, err := Listen(path); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("%q: %v", path, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is now %q, %v", b, err)
	}
}

func TestNewRefuses(t *testing.T) {
	_, o := services()
	o.Stats = nil
	if _, err := New(o); !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), "Stats") {
		t.Error(err)
	}
}

// slowPods hold a Stop until it is cancelled.
type slowPods struct {
	*fakePods
	began chan struct{}
}

func (s slowPods) Stop(ctx context.Context, _ string) error {
	close(s.began)
	<-ctx.Done()
	return ctx.Err()
}

// Stop waits for a call only as long as it may, then cancels it; lists go on meanwhile.
func TestStop(t *testing.T) {
	n, o := services()
	slow := slowPods{n.pods, make(chan struct{})}
	o.Pods = slow
	n.serve(t, o)
	result := make(chan error, 1)
	go func() {
		_, err := n.runtime.StopPodSandbox(context.Background(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: "podready"})
		result <- err
	}()
	<-slow.began
	if _, err := n.runtime.ListPodSandbox(callContext(t), &runtimeapi.ListPodSandboxRequest{}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	n.server.Stop(ctx)
	if code := status.Code(<-result); code != codes.Unavailable && code != codes.Canceled {
		t.Errorf("the call ended with %s", code)
	}
}
