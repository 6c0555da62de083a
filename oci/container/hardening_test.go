package container_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
)

// noDev is a container whose /dev is the image's own.
func noDev(root string, args ...string) *initconf.Config {
	c := config(root, args...)
	c.Mounts, c.Devices, c.DevSymlinks = c.Mounts[:1:1], nil, false
	return c
}

// TestMasksAreTheNullDevice: the image has something else at /dev/null, which must not become
// what masked paths show (CVE-2025-31133).
func TestMasksAreTheNullDevice(t *testing.T) {
	balance(t)
	for _, null := range []string{"link to /proc/sysrq-trigger", "link to /etc/secret", "a file"} {
		root := rootfs(t)
		at := filepath.Join(root, "dev/null")
		if err := os.WriteFile(filepath.Join(root, "etc/secret"), []byte("secret"), 0o644); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(null, "link to ")
		var err error
		if link {
			err = os.Symlink(target, at)
		} else {
			err = os.WriteFile(at, []byte("file"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		c := noDev(root, "stat", "-c", "%t:%T %F", "/proc/timer_list", "/proc/keys")
		c.MaskedPaths = []string{"/proc/timer_list", "/proc/keys"}
		const one = "1:3 character special file\n"
		if out := mustRun(t, c); out != one+one {
			t.Errorf("/dev/null is %s: masked paths are %q", null, out)
		}
	}
}

// TestNullRace swaps the image's /dev/null while containers start (CVE-2025-31133).
func TestNullRace(t *testing.T) {
	balance(t)
	root := rootfs(t)
	dev := filepath.Join(root, "dev")
	if err := os.Symlink("/proc/sysrq-trigger", filepath.Join(dev, "trap")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(dev, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	defer swapping(t, filepath.Join(dev, "trap"), filepath.Join(dev, "null"))()
	c := noDev(root, "stat", "-c", "%t:%T", "/proc/keys")
	c.MaskedPaths = []string{"/proc/keys"}
	for range 20 {
		if out := mustRun(t, c); out != "1:3\n" {
			t.Fatalf("the mask is %q", out)
		}
	}
}

// swapping exchanges two files again and again until stop is called.
func swapping(t *testing.T, a, b string) (stop func()) {
	t.Helper()
	var end atomic.Bool
	done := make(chan error, 1)
	go func() {
		for !end.Load() {
			if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return func() {
		end.Store(true)
		if err := <-done; err != nil {
			t.Errorf("swap %s and %s: %v", a, b, err)
		}
	}
}

// TestLinkedConsole: the image's /dev/console is a link (CVE-2025-52565): nothing is mounted or made where
// it leads.
func TestLinkedConsole(t *testing.T) {
	balance(t)
	root := rootfs(t)
	if err := os.Symlink("/etc/made", filepath.Join(root, "dev/console")); err != nil {
		t.Fatal(err)
	}
	c := noDev(root, "true")
	c.Mounts = append(c.Mounts, initconf.Mount{Type: "devpts", Destination: "/dev/pts", Data: "newinstance,ptmxmode=0666,mode=0620"})
	c.Terminal = true
	if e := failure(t, c); e.Step != "console" || e.Errno != syscall.ELOOP {
		t.Errorf("%+v", e)
	}
	if _, err := os.Lstat(filepath.Join(root, "etc/made")); !os.IsNotExist(err) {
		t.Errorf("made at the link's target: %v", err)
	}
}

// TestConsoleRace swaps /dev/console, on a volume that an attacker shares, against a link while containers
// start (CVE-2025-52565): each start fails or has the pty there.
func TestConsoleRace(t *testing.T) {
	balance(t)
	root, dev := rootfs(t), t.TempDir()
	for _, d := range []string{"pts", "victim"} {
		if err := os.Mkdir(filepath.Join(dev, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"console", "victim/file"} {
		if err := os.WriteFile(filepath.Join(dev, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("victim/file", filepath.Join(dev, "trap")); err != nil {
		t.Fatal(err)
	}
	defer swapping(t, filepath.Join(dev, "trap"), filepath.Join(dev, "console"))()
	c := noDev(root, "stat", "-c", "victim %F", "/dev/victim/file")
	c.Mounts = append(c.Mounts,
		initconf.Mount{Type: "bind", Source: dev, Destination: "/dev", Flags: unix.MS_BIND},
		initconf.Mount{Type: "devpts", Destination: "/dev/pts", Data: "newinstance,ptmxmode=0666,mode=0620"})
	c.Terminal = true
	for range 20 {
		p, _ := launch(t, c, newAll)
		if err := p.Release(); err != nil {
			t.Fatal(err)
		}
		console, err := p.WaitReady(t.Context())
		if err != nil { // the link was met
			if console != nil {
				console.Close()
			}
			wait(t, p)
			continue
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, _ := console.Read(buf)
		if out := string(buf[:n]); !strings.HasPrefix(out, "victim regular empty file") { // its line end may come with a later read
			t.Errorf("the link was followed: %q", out)
		}
		console.Close()
		wait(t, p)
	}
}

// TestDecoyProcfs: what lies at the container's /proc is a volume that an attacker prepares. Neither
// sysctls nor labels nor the OOM score are written there (CVE-2019-19921, CVE-2025-52881).
func TestDecoyProcfs(t *testing.T) {
	balance(t)
	root, decoy := rootfs(t), t.TempDir()
	files := []string{"sys/net/core/somaxconn", "self/attr/exec", "self/attr/apparmor/exec", "self/oom_score_adj"}
	for _, f := range files {
		p := filepath.Join(decoy, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, label := range []string{"", "unconfined"} {
		c := config(root, "true")
		c.Mounts[0] = initconf.Mount{Type: "bind", Source: decoy, Destination: "/proc", Flags: unix.MS_BIND}
		c.MaskedPaths, c.ReadonlyPaths = nil, nil
		c.Sysctls = []initconf.Sysctl{{Path: "net/core/somaxconn", Value: "77"}}
		c.HasOOMScoreAdj, c.OOMScoreAdj = true, 900
		c.AppArmor = label // without AppArmor in the kernel this start fails, having written nothing
		p, _ := launch(t, c, newAll)
		err := p.Release()
		if err == nil {
			_, err = p.WaitReady(t.Context())
		}
		if err == nil {
			err = p.Start()
		}
		if err != nil && label == "" {
			t.Errorf("start: %v", err)
		}
		wait(t, p)
		for _, f := range files {
			if data, err := os.ReadFile(filepath.Join(decoy, f)); err != nil || len(data) != 0 {
				t.Errorf("label %q: written to the decoy's %s: %q %v", label, f, data, err)
			}
		}
	}
}
