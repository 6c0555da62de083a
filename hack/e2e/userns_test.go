package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mapped is the node's id behind 0 in the tests' user namespaces.
const mapped = 300000

func mapping() []*runtimeapi.IDMapping {
	return []*runtimeapi.IDMapping{{HostId: mapped, Length: 65536}}
}

func userns(o *runtimeapi.NamespaceOption) *runtimeapi.NamespaceOption {
	o.UsernsOptions = &runtimeapi.UserNamespace{Mode: modePod, Uids: mapping(), Gids: mapping()}
	return o
}

// needUserns skips on a node that says it has no user namespaces, which is what it then refuses.
func needUserns(n *node) {
	n.t.Helper()
	r, err := n.runtime.Status(n.ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, h := range r.RuntimeHandlers {
		if !h.Features.UserNamespaces {
			n.t.Skip("needs Linux 5.19 and user namespaces: the node says it has none")
		}
	}
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

func TestUserNamespace(t *testing.T) {
	n := startNode(t)
	n.pull()
	needUserns(n)
	p := n.runPod("userns", withOptions(userns(ownPid())))
	plain, shown := filepath.Join(n.dir, "plain"), filepath.Join(n.dir, "shown")
	for _, dir := range []string{plain, shown} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	edit := func(c *containerConfig) {
		c.Mounts = []*runtimeapi.Mount{
			{ContainerPath: "/plain", HostPath: plain},
			{ContainerPath: "/shown", HostPath: shown, UidMappings: mapping(), GidMappings: mapping()},
			{ContainerPath: "/image", Image: &runtimeapi.ImageSpec{Image: busybox}, Readonly: true},
		}
	}
	c := p.run("a", forever, edit)
	d := p.run("b", forever, nil)
	t.Run("ids", func(t *testing.T) {
		want := fmt.Sprintf("0 %d 65536", mapped)
		if got := strings.Join(strings.Fields(c.sh("cat /proc/1/uid_map")), " "); got != want {
			t.Errorf("uid_map %q", got)
		}
		if got := ownerOf(t, fmt.Sprintf("/proc/%d", c.pid())); got != mapped {
			t.Errorf("the node sees the process as %d", got)
		}
		if got := c.sh("id -u; stat -c %u / /bin/busybox /etc /tmp /dev/shm /etc/hosts /image/bin/busybox /proc/1 | sort -u"); got != "0\n0" {
			t.Errorf("owners inside: %q", got)
		}
	})
	t.Run("one for the pod", func(t *testing.T) {
		for _, kind := range []string{"user", "net", "ipc", "uts"} {
			if c.namespace(kind) != d.namespace(kind) || c.namespace(kind) == nodeNamespace(t, kind) {
				t.Errorf("%s: %s, %s, the node's %s", kind, c.namespace(kind), d.namespace(kind), nodeNamespace(t, kind))
			}
		}
		c.sh("hostname >/dev/null; [ -d /sys/class/net/eth0 ]; [ -r /dev/null ]; echo >/dev/null; echo x >/dev/shm/x; mkdir /etc/new; echo x >>/etc/hosts")
		if got := d.sh("cat /dev/shm/x"); got != "x" {
			t.Errorf("/dev/shm is not shared: %q", got)
		}
	})
	t.Run("volumes", func(t *testing.T) {
		if r := c.execSync("touch", "/plain/x"); r.ExitCode == 0 {
			t.Errorf("root inside writes into the node's directory")
		}
		c.sh("touch /shown/x; chown 5 /shown/x")
		if got := ownerOf(t, shown+"/x"); got != 5 {
			t.Errorf("an id-mapped volume's file belongs to %d", got)
		}
		if r := c.execSync("touch", "/image/x"); r.ExitCode == 0 {
			t.Errorf("an image volume is writable")
		}
		if got := c.sh("stat -c %u /plain"); got != "65534" {
			t.Errorf("the node's root is %s inside", got)
		}
	})
	t.Run("cgroup", func(t *testing.T) {
		inside, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.pid()))
		if err != nil || !strings.Contains(string(inside), c.id) {
			t.Errorf("%s, %v", inside, err)
		}
		if got := c.sh("ls /sys/fs/cgroup | wc -l"); got == "0" {
			t.Errorf("no cgroups inside")
		}
	})
}

// The pod's PID 1 and a sysctl of its network are its user namespace's too.
func TestUserNamespaceSharedPid(t *testing.T) {
	n := startNode(t)
	n.pull()
	needUserns(n)
	o := userns(&runtimeapi.NamespaceOption{Pid: modePod})
	p := n.runPod("userns-pid", func(c *podConfig) {
		withOptions(o)(c)
		c.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}
	})
	c := p.run("a", forever, func(c *containerConfig) {
		inOptions(o)(c)
		c.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1000}
	})
	if got := c.sh("cat /proc/1/comm; id -u; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; readlink /proc/self/ns/user"); !strings.HasPrefix(got, "slipway-init\n1000\n80\nuser:") {
		t.Errorf("%q", got)
	}
	if got := ownerOf(t, fmt.Sprintf("/proc/%d", c.pid())); got != mapped+1000 {
		t.Errorf("the node sees user 1000 as %d", got)
	}
}

// With the node's network (KEP-5607) sysfs is the node's, read-only.
func TestUserNamespaceHostNetwork(t *testing.T) {
	n := startNode(t)
	n.pull()
	needUserns(n)
	o := userns(&runtimeapi.NamespaceOption{Network: modeNode, Pid: modeContainer})
	p := n.runPod("userns-net", withOptions(o))
	c := p.run("a", forever, inOptions(o))
	if c.namespace("net") != nodeNamespace(t, "net") || c.namespace("user") == nodeNamespace(t, "user") {
		t.Errorf("net %s, user %s", c.namespace("net"), c.namespace("user"))
	}
	if got := c.sh("ls /sys/class/net/lo >/dev/null && echo x 2>/dev/null >/sys/kernel/profiling || echo refused"); got != "refused" {
		t.Errorf("%q", got)
	}
}

// It outlives the agent.
func TestUserNamespaceAgentRestart(t *testing.T) {
	n := startNode(t)
	n.pull()
	needUserns(n)
	p := n.runPod("userns-restart", withOptions(userns(ownPid())))
	c := p.run("a", forever, nil)
	n.kill()
	n.start()
	d := p.run("b", forever, nil)
	if c.namespace("user") != d.namespace("user") {
		t.Errorf("another user namespace after a restart")
	}
}

func TestUserNamespaceRefused(t *testing.T) {
	n := startNode(t)
	n.pull()
	needUserns(n)
	const field = "userns_options."
	at := func(host, inside, length uint32) *runtimeapi.IDMapping {
		return &runtimeapi.IDMapping{HostId: host, ContainerId: inside, Length: length}
	}
	for name, c := range map[string]struct {
		uids []*runtimeapi.IDMapping
		says string
	}{
		"no root":             {[]*runtimeapi.IDMapping{at(mapped, 1, 10)}, field + "uids"},
		"the node's root":     {[]*runtimeapi.IDMapping{at(0, 0, 10)}, field + "uids"},
		"overlap inside":      {[]*runtimeapi.IDMapping{at(mapped, 0, 10), at(mapped+100, 9, 10)}, field + "uids"},
		"overlap on the node": {[]*runtimeapi.IDMapping{at(mapped, 0, 10), at(mapped+9, 10, 10)}, field + "uids"},
		"empty range":         {[]*runtimeapi.IDMapping{at(mapped, 0, 0)}, field + "uids"},
		"beyond the end":      {[]*runtimeapi.IDMapping{at(1<<32-5, 0, 10)}, field + "uids"},
		"none":                {nil, field},
	} {
		o := userns(ownPid())
		o.UsernsOptions.Uids = c.uids
		_, err := n.runtime.RunPodSandbox(n.ctx, &runtimeapi.RunPodSandboxRequest{Config: n.podConfig("refused", withOptions(o))})
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		wantCode(t, err, codes.InvalidArgument, c.says)
	}
	for _, o := range []*runtimeapi.NamespaceOption{{Pid: modeNode}, {Ipc: modeNode}} {
		_, err := n.runtime.RunPodSandbox(n.ctx, &runtimeapi.RunPodSandboxRequest{Config: n.podConfig("refused", withOptions(userns(o)))})
		wantCode(t, err, codes.InvalidArgument, "user namespace")
	}
	p := n.runPod("userns-refused", withOptions(userns(ownPid())))
	other := p.config("a", forever, func(c *containerConfig) {
		c.Linux.SecurityContext.NamespaceOptions = ownPid()
		c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtimeapi.UserNamespace{Mode: modeNode}
	})
	_, err := p.runtime.CreateContainer(p.ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: other, SandboxConfig: p.cfg})
	wantCode(t, err, codes.InvalidArgument, "userns_options")
}
