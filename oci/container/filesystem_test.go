package container_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
)

func TestOverlayRoot(t *testing.T) {
	balance(t)
	base, store := t.TempDir(), rootfs(t)
	for _, d := range []string{"a,b", "up", "work"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(store, filepath.Join(base, "c:d")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "a,b/top"), []byte("layer"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := config("", "sh", "-c", "cat /top; echo new > /made; grep -c ' / / ' /proc/self/mountinfo")
	c.Root = initconf.Root{
		LowerBase: base, Lower: []string{"a,b", "c:d"},
		Upper: filepath.Join(base, "up"), Work: filepath.Join(base, "work"),
	}
	if out := mustRun(t, c); out != "layer1\n" {
		t.Errorf("output %q", out)
	}
	if b, err := os.ReadFile(filepath.Join(base, "up/made")); err != nil || string(b) != "new\n" {
		t.Errorf("upper: %q, %v", b, err)
	}
	c.Args = []string{"sh", "-c", "echo x > /refused"}
	c.Root.Readonly = true
	if out, code := run(t, c, newAll); code == 0 || !strings.Contains(out, "Read-only file system") {
		t.Errorf("read-only root: exit %d, %q", code, out)
	}
	c.Root = initconf.Root{LowerBase: base, Lower: []string{"c:d"}}
	c.Mounts = c.Mounts[:5]
	if out, code := run(t, c, newAll); code == 0 || !strings.Contains(out, "Read-only file system") {
		t.Errorf("one layer alone: exit %d, %q", code, out)
	}
}

func TestMasksAndReadonly(t *testing.T) {
	balance(t)
	c := config(rootfs(t), "sh", "-c", `
wc -c < /proc/keys; wc -c < /proc/timer_list; ls /sys/firmware | wc -l
echo 1 > /proc/sys/kernel/domainname; echo 1 > /sys/kernel/profiling; touch /sys/firmware/x
stat -c %t:%T /dev/null; readlink /dev/fd; readlink /dev/ptmx; stat -c %a /dev/shm`)
	c.Capabilities.Effective, c.Capabilities.Permitted = defaultCaps, defaultCaps
	out := mustRun(t, c)
	if !strings.HasPrefix(out, "0\n0\n0\n") || strings.Count(out, "Read-only file system") != 3 ||
		!strings.HasSuffix(out, "1:3\n/proc/self/fd\npts/ptmx\n1777\n") {
		t.Errorf("output:\n%s", out)
	}
}

func TestBinds(t *testing.T) {
	balance(t)
	root, host := rootfs(t), t.TempDir()
	for name, text := range map[string]string{"file": "f", "sub/inner": "i"} {
		p := filepath.Join(host, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A dangling link of the image on the way, as /var/run is in many.
	if err := os.Symlink("../run", filepath.Join(root, "etc/run")); err != nil {
		t.Fatal(err)
	}
	c := config(root, "sh", "-c", `cat /etc/hosts /run/a/b/sub/inner; echo x > /rw/made; echo x > /ro/refused; ls /opt; cat /opt/file`)
	private := []uint64{unix.MS_PRIVATE | unix.MS_REC}
	c.Mounts = append(c.Mounts,
		initconf.Mount{Type: "bind", Source: host + "/file", Destination: "/etc/hosts", Flags: unix.MS_BIND | unix.MS_RDONLY, Propagation: private},
		initconf.Mount{Type: "bind", Source: host, Destination: "/etc/run/a/b", Flags: unix.MS_BIND | unix.MS_REC, Propagation: private},
		initconf.Mount{Type: "bind", Source: host, Destination: "/rw", Flags: unix.MS_BIND | unix.MS_REC},
		initconf.Mount{Type: "bind", Source: host, Destination: "/ro", Flags: unix.MS_BIND, RecAttrSet: unix.MOUNT_ATTR_RDONLY},
		initconf.Mount{Type: "bind", Source: host + "/nonesuch", Destination: "/optional", Flags: unix.MS_BIND, Optional: true},
		initconf.Mount{Type: "tmpfs", Destination: "/opt", Flags: unix.MS_RDONLY, CopyUp: true},
	)
	if err := os.Mkdir(filepath.Join(root, "opt"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "opt/file"), []byte("image"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/shadow", filepath.Join(root, "opt/link")); err != nil {
		t.Fatal(err)
	}
	out := mustRun(t, c)
	if !strings.HasPrefix(out, "fi") || !strings.Contains(out, "Read-only file system") || !strings.HasSuffix(out, "file\nlink\nimage") {
		t.Errorf("output %q", out)
	}
	if _, err := os.Stat(filepath.Join(host, "made")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(root, "optional")); err == nil {
		t.Error("a mount that was passed over left its destination")
	}
}

func TestMissingSource(t *testing.T) {
	balance(t)
	c := config(rootfs(t), "true")
	c.Mounts = append(c.Mounts, initconf.Mount{Type: "bind", Source: "/nonesuch", Destination: "/there", Flags: unix.MS_BIND})
	e := failure(t, c)
	if e.Step != "bind" || e.Path != "/there" || !strings.Contains(e.Error(), "/nonesuch") || e.Errno != syscall.ENOENT {
		t.Errorf("%+v", e)
	}
}

// TestHostileRoot: what an image has at the places that we mount on must not lead outside,
// and nothing may be made there (CVE-2026-41579, CVE-2026-47766).
func TestHostileRoot(t *testing.T) {
	balance(t)
	for _, tc := range []struct {
		name, at, target string
		step             string
	}{
		{"dev is a link out", "dev", "OUT", "mount"},
		{"dev is a relative link", "dev", "../../../../../../tmp", "mount"},
		{"proc is a link", "proc", "OUT", "mount"},
		{"sys is a link", "sys", "/etc", "mount"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, outside := rootfs(t), t.TempDir()
			if err := os.Remove(filepath.Join(root, tc.at)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(strings.Replace(tc.target, "OUT", outside, 1), filepath.Join(root, tc.at)); err != nil {
				t.Fatal(err)
			}
			e := failure(t, config(root, "true"))
			if e.Step != tc.step || e.Errno != syscall.ELOOP {
				t.Errorf("%+v", e)
			}
			if left, _ := os.ReadDir(outside); len(left) != 0 {
				t.Errorf("made outside: %v", left)
			}
		})
	}
}

// TestLinkedVolumes: a volume's destination that is a link stays inside the root
// (CVE-2022-23648, CVE-2024-45310).
func TestLinkedVolumes(t *testing.T) {
	balance(t)
	root, outside, volume := rootfs(t), t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "abs")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../../../../../.."+outside, filepath.Join(root, "rel")); err != nil {
		t.Fatal(err)
	}
	c := config(root, "sh", "-c", "echo a > /abs/x/a; echo b > /rel/y/b; echo c > /up/c")
	for _, d := range []string{"/abs/x", "/rel/y", "/../../up"} {
		c.Mounts = append(c.Mounts, initconf.Mount{Type: "bind", Source: volume, Destination: d, Flags: unix.MS_BIND})
	}
	mustRun(t, c)
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("made outside: %v", left)
	}
	for _, f := range []string{"a", "b", "c"} {
		if _, err := os.Stat(filepath.Join(volume, f)); err != nil {
			t.Errorf("volume: %v", err)
		}
	}
}

// TestProcfsLinkAsDestination: a link of procfs names what the text says it does not.
func TestProcfsLinkAsDestination(t *testing.T) {
	balance(t)
	root := rootfs(t)
	if err := os.Symlink("/proc/self/root", filepath.Join(root, "trap")); err != nil {
		t.Fatal(err)
	}
	c := config(root, "true")
	c.Mounts = append(c.Mounts, initconf.Mount{Type: "bind", Source: t.TempDir(), Destination: "/trap/a", Flags: unix.MS_BIND})
	if e := failure(t, c); e.Errno != syscall.ELOOP {
		t.Errorf("%+v", e)
	}
}

// TestRenameRace swaps a mount's parent directory against a link while containers start
// (CVE-2021-30465): each start succeeds or fails, but nothing lands outside.
func TestRenameRace(t *testing.T) {
	balance(t)
	root, shared, outside := rootfs(t), t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(shared, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/../../../../.."+outside, filepath.Join(shared, "link")); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, shared+"/dir", unix.AT_FDCWD, shared+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	c := config(root, "true")
	c.Mounts = append(c.Mounts,
		initconf.Mount{Type: "bind", Source: shared, Destination: "/shared", Flags: unix.MS_BIND},
		initconf.Mount{Type: "tmpfs", Destination: "/shared/dir/in/here"})
	for range 12 {
		p, out := launch(t, c, newAll)
		if err := p.Release(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.WaitReady(t.Context()); err == nil {
			if err := p.Start(); err != nil {
				t.Error(err)
			}
		}
		wait(t, p)
		p.Close()
		out()
	}
	close(stop)
	<-stopped
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("made outside: %v", left)
	}
}

// TestWorkingDirectory: no descriptor of the parent can be a working directory
// (CVE-2024-21626), a missing one is made, one that is a file is an error.
func TestWorkingDirectory(t *testing.T) {
	balance(t)
	root := rootfs(t)
	c := config(root, "pwd")
	c.Cwd = "/var/lib/app"
	if out := mustRun(t, c); out != "/var/lib/app\n" {
		t.Errorf("cwd %q", out)
	}
	c.Cwd = "/bin/busybox"
	if e := failure(t, c); e.Step != "cwd" || e.Errno != syscall.ENOTDIR {
		t.Errorf("%+v", e)
	}
	for n := 3; n <= 64; n++ {
		c.Cwd, c.CreateCwd = "/proc/self/fd/"+itoa(n), n%2 == 0
		if e := failure(t, c); e.Step != "cwd" {
			t.Errorf("fd %d: %+v", n, e)
		}
	}
}

func itoa(n int) string {
	return strings.TrimLeft(string([]byte{byte('0' + n/10), byte('0' + n%10)}), "0")
}

func TestPropagation(t *testing.T) {
	balance(t)
	root, host := rootfs(t), t.TempDir()
	// A shared mount of the test's own, in the test's namespace.
	if err := unix.Mount("none", host, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(host, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	c := config(root, "grep", "/vol", "/proc/self/mountinfo")
	for name, p := range map[string][]uint64{
		"priv": {unix.MS_PRIVATE | unix.MS_REC}, "slave": {unix.MS_SLAVE | unix.MS_REC}, "shared": {unix.MS_SHARED | unix.MS_REC}, "none": nil,
	} {
		c.Mounts = append(c.Mounts, initconf.Mount{Type: "bind", Source: host, Destination: "/vol-" + name, Flags: unix.MS_BIND | unix.MS_REC, Propagation: p})
	}
	out := mustRun(t, c)
	for line := range strings.Lines(out) {
		shared, slave := strings.Contains(line, " shared:"), strings.Contains(line, " master:")
		if strings.Contains(line, "/vol-shared") != shared || strings.Contains(line, "/vol-slave") != slave {
			t.Error(line)
		}
	}
	if strings.Count(out, "\n") != 4 {
		t.Errorf("mounts:\n%s", out)
	}
}

func TestCgroupView(t *testing.T) {
	balance(t)
	c := config(rootfs(t), "sh", "-c", "cat /proc/self/cgroup; ls /sys/fs/cgroup; touch /sys/fs/cgroup/x; cat /sys/fs/cgroup/cgroup.controllers")
	c.Unshare = unix.CLONE_NEWCGROUP
	c.Mounts = append(c.Mounts, initconf.Mount{Type: "cgroup", Destination: "/sys/fs/cgroup", CgroupView: true,
		Flags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC})
	out, _ := run(t, c, newAll)
	if !strings.Contains(out, "Read-only file system") {
		t.Errorf("writable:\n%s", out)
	}
	v2, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	if err == nil && !v2.IsDir() {
		if !strings.Contains(out, "0::/\n") || strings.Contains(out, "No such file") {
			t.Errorf("v2:\n%s", out)
		}
		return
	}
	mounted, err := os.ReadDir("/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range mounted {
		if !strings.Contains(out, e.Name()+"\n") {
			t.Errorf("hierarchy %s is not shown:\n%s", e.Name(), out)
		}
	}
}

// An image volume is an overlay without an upper directory: nothing inside makes it writable,
// no link of the image leads out of it, and nothing shows on the host.
func TestLayers(t *testing.T) {
	balance(t)
	base, host := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"top/sub/file": "top", "low/sub/file": "low", "low/sub/deep/other": "other", "empty/.keep": ""} {
		p := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"low/in": "/sub/deep", "low/out": "../../../../.." + host} {
		if err := os.Symlink(target, filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	volume := func(dest, sub string, layers ...string) initconf.Mount {
		return initconf.Mount{
			Type: "overlay", Destination: dest, LayerBase: base, Layers: layers, SubPath: sub,
			Flags: unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV,
		}
	}
	c := config(rootfs(t), "sh", "-c", `cat /v/sub/file /v/sub/deep/other /s/other /l/other /f
echo x > /v/new; /v/sub/file; mount -o remount,rw,bind /v && echo x > /v/new; grep -c ' /v .* ro,' /proc/self/mountinfo`)
	caps := uint64(defaultCaps | 1<<unix.CAP_SYS_ADMIN)
	c.Capabilities.Effective, c.Capabilities.Permitted, c.Capabilities.Bounding = caps, caps, caps
	c.Mounts = append(c.Mounts, volume("/v", "", "top", "low"), volume("/s", "sub/deep", "top", "low"),
		volume("/l", "in", "low", "empty"), volume("/f", "sub/file", "low", "empty"))
	out, _ := run(t, c, newAll)
	if !strings.HasPrefix(out, "top\nother\nother\nother\nlow\n") || strings.Count(out, "Read-only file system") != 2 ||
		!strings.Contains(out, "Permission denied") {
		t.Errorf("output %q", out)
	}
	c = config(rootfs(t), "true")
	c.Mounts = append(c.Mounts, volume("/v", "sub/none", "top", "low"))
	if e := failure(t, c); e.Step != "image volume" || e.Path != "/v" || e.Errno != syscall.ENOENT || !strings.Contains(e.Error(), "sub/none") {
		t.Errorf("a missing sub path: %+v", e)
	}
	c.Mounts[len(c.Mounts)-1] = volume("/v", "out", "top", "low")
	if e := failure(t, c); e.Step != "image volume" || e.Errno != syscall.ENOENT {
		t.Errorf("a link that leads out: %+v", e)
	}
}

// Read-only with all that is mounted below (KEP-3857).
func TestRecursiveReadOnly(t *testing.T) {
	balance(t)
	root, host := rootfs(t), t.TempDir()
	if err := os.Mkdir(filepath.Join(host, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", host+"/sub", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(host+"/sub", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	c := config(root, "sh", "-c", "echo x > /rro/a; echo x > /rro/sub/a; echo x > /ro/a; echo x > /ro/sub/b; ls /ro/sub")
	bind := initconf.Mount{Type: "bind", Source: host, Flags: unix.MS_BIND | unix.MS_REC}
	rro, ro := bind, bind
	rro.Destination, rro.RecAttrSet = "/rro", unix.MOUNT_ATTR_RDONLY
	ro.Destination, ro.Flags = "/ro", bind.Flags|unix.MS_RDONLY
	c.Mounts = append(c.Mounts, rro, ro)
	out, _ := run(t, c, newAll)
	if strings.Count(out, "Read-only file system") != 3 || !strings.HasSuffix(out, "b\n") {
		t.Errorf("output %q", out)
	}
}
