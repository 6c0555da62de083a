package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slipway-cri/slipway/agent/images/imagetest"
)

// What the tests share: the binaries, and one registry with one image.
var (
	bin      string // directory of the binaries
	registry string // host:port
	busybox  string // reference of the image
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // every test says why it is skipped
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "e2e-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if bin, err = binaries(dir); err != nil {
		fmt.Fprintln(os.Stderr, "the binaries:", err)
		return 1
	}
	s := &setup{dir: dir}
	defer s.end()
	if err := s.registry(); err != nil {
		fmt.Fprintln(os.Stderr, "the registry:", err)
		return 1
	}
	return m.Run()
}

// binaries returns $SLIPWAY_TEST_BIN, or builds into dir.
func binaries(dir string) (string, error) {
	if b := os.Getenv("SLIPWAY_TEST_BIN"); b != "" {
		if _, err := os.Stat(filepath.Join(b, "slipway")); err != nil {
			return "", fmt.Errorf("$SLIPWAY_TEST_BIN: %w", err)
		}
		return filepath.Abs(b)
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/...")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return dir, nil
}

// setup stands in for a test where imagetest wants one: what it makes lives as long as the process.
type setup struct {
	testing.TB
	dir      string
	cleanups []func()
}

func (s *setup) Helper()                   {}
func (s *setup) TempDir() string           { return s.dir }
func (s *setup) Cleanup(f func())          { s.cleanups = append(s.cleanups, f) }
func (s *setup) Logf(f string, a ...any)   { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (s *setup) Fatalf(f string, a ...any) { panic(fmt.Errorf(f, a...)) }
func (s *setup) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }

func (s *setup) end() {
	for _, f := range s.cleanups {
		f()
	}
}

// registry starts the registry and fills it.
func (s *setup) registry() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	registry = imagetest.StartRegistry(s)
	busybox = registry + "/e2e/busybox:1"
	img := imagetest.Busybox(s)
	if _, err := img.Push(context.Background(), registry, "e2e/busybox", "1"); err != nil {
		return err
	}
	http.DefaultClient.CloseIdleConnections() // a descriptor that would leave in the middle of a test
	return nil
}

// scaled is n, or with $SLIPWAY_TEST_SLOW set, on a machine under software emulation, few.
func scaled(n, few int) int {
	if os.Getenv("SLIPWAY_TEST_SLOW") != "" {
		return few
	}
	return n
}
