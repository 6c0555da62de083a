package imagetest

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const registryBinary = "/usr/bin/docker-registry"

// StartRegistry runs Debian's docker-registry with an empty store on a free loopback port
// until the test ends, and returns its host:port. extra is appended to its config.yml
// (for example an auth section).
func StartRegistry(t testing.TB, extra ...string) string {
	t.Helper()
	if _, err := os.Stat(registryBinary); err != nil {
		t.Fatalf("%v: the tests pull from a real registry: apt-get install docker-registry", err)
	}
	dir := t.TempDir()
	for range 5 { // the port may be taken between asking for it and using it
		addr, err := freePort()
		if err != nil {
			t.Fatalf("free port: %v", err)
		}
		if startRegistryAt(t, dir, addr, extra) {
			return addr
		}
	}
	t.Fatalf("docker-registry did not start on any of 5 ports")
	return ""
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func startRegistryAt(t testing.TB, dir, addr string, extra []string) bool {
	t.Helper()
	config := fmt.Sprintf("version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: %s\n  delete:\n    enabled: true\nhttp:\n  addr: %s\n", filepath.Join(dir, "data"), addr)
	for _, e := range extra {
		config += e + "\n"
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	cmd := exec.Command(registryBinary, "serve", path)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start docker-registry: %v", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	stop := func() { _ = cmd.Process.Kill(); <-exited }
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		resp, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			resp.Body.Close()
			if len(resp.Header.Values("Docker-Distribution-Api-Version")) > 0 {
				t.Cleanup(stop)
				return true
			}
		}
		select {
		case <-exited:
			t.Logf("docker-registry on %s ended: %s", addr, log.String())
			return false
		case <-time.After(10 * time.Millisecond): // it tells nobody when it listens
		}
	}
	stop()
	t.Fatalf("docker-registry on %s does not answer: %s", addr, log.String())
	return false
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
