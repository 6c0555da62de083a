package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	modePod       = runtimeapi.NamespaceMode_POD
	modeContainer = runtimeapi.NamespaceMode_CONTAINER
	modeNode      = runtimeapi.NamespaceMode_NODE
	modeTarget    = runtimeapi.NamespaceMode_TARGET
)

// withOptions sets a pod's namespace modes.
func withOptions(o *runtimeapi.NamespaceOption) func(*podConfig) {
	return func(c *podConfig) { c.Linux.SecurityContext.NamespaceOptions = o }
}

// inOptions sets a container's namespace modes.
func inOptions(o *runtimeapi.NamespaceOption) func(*containerConfig) {
	return func(c *containerConfig) { c.Linux.SecurityContext.NamespaceOptions = o }
}

// namespace is the identity of a namespace of the container's programs.
func (c *container) namespace(kind string) string {
	c.t.Helper()
	return c.sh("readlink /proc/self/ns/" + kind)
}

func nodeNamespace(t *testing.T, kind string) string {
	t.Helper()
	l, err := os.Readlink("/proc/self/ns/" + kind)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPidPerPod(t *testing.T) {
	n := startNode(t)
	n.pull()
	o := &runtimeapi.NamespaceOption{Pid: modePod}
	p := n.runPod("shared", withOptions(o))
	// The orphan's parent ends at once; whoever is PID 1 must reap the orphan.
	a := p.run("a", []string{"sh", "-c", `sh -c 'sleep 0.2 & echo $!' >/tmp/orphan; exec sleep 1000000`}, inOptions(o))
	b := p.run("b", forever, inOptions(o))
	if x, y := a.namespace("pid"), b.namespace("pid"); x != y || x == nodeNamespace(t, "pid") {
		t.Errorf("PID namespaces %s and %s", x, y)
	}
	if got := b.sh("cat /proc/1/comm"); got != "slipway-init" {
		t.Errorf("PID 1 is %q", got)
	}
	orphan := a.sh("cat /tmp/orphan")
	eventually(t, "the orphan's end, reaped", func() bool { return b.sh("[ -e /proc/"+orphan+" ] || echo gone") == "gone" })
	if got := b.sh("ps | grep -c '[s]leep 1000000'"); got != "2" {
		t.Errorf("one container sees %s of two", got)
	}
	a.stop(0)
	if s := a.exit(); s.ExitCode != 137 {
		t.Errorf("stopped with %d", s.ExitCode)
	}
	if got := b.sh("ps | grep -c '[s]leep 1000000'"); got != "1" {
		t.Errorf("after the other's stop it sees %s", got)
	}
}

func TestPidOtherModes(t *testing.T) {
	n := startNode(t)
	n.pull()
	t.Run("container", func(t *testing.T) {
		p := n.runPod("container", nil)
		a, b := p.run("a", forever, nil), p.run("b", forever, nil)
		if a.namespace("pid") == b.namespace("pid") {
			t.Errorf("one PID namespace for two containers")
		}
		if got := a.sh("cat /proc/1/comm"); got != "sleep" {
			t.Errorf("PID 1 is %q", got)
		}
	})
	t.Run("target", func(t *testing.T) {
		p := n.runPod("target", nil)
		a := p.run("a", forever, nil)
		b := p.run("b", []string{"sleep", "999999"}, inOptions(&runtimeapi.NamespaceOption{Pid: modeTarget, TargetId: a.id}))
		if a.namespace("pid") != b.namespace("pid") {
			t.Errorf("the target has another PID namespace")
		}
		if got := b.sh("tr '\\0' ' ' </proc/1/cmdline"); got != "sleep 1000000 " {
			t.Errorf("PID 1 is %q", got)
		}
		if got := a.sh("ps | grep -c '[s]leep 999999'"); got != "1" {
			t.Errorf("the target sees %s of the other", got)
		}
		b.stop(0)
		if s := a.status(); s.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Errorf("the target is %s after the other's stop", s.State)
		}
	})
	t.Run("node", func(t *testing.T) {
		o := &runtimeapi.NamespaceOption{Pid: modeNode}
		p := n.runPod("node", withOptions(o))
		a := p.run("a", forever, inOptions(o))
		if got := a.namespace("pid"); got != nodeNamespace(t, "pid") {
			t.Errorf("PID namespace %s is not the node's", got)
		}
		if got := a.sh(fmt.Sprintf("cat /proc/%d/comm", a.pid())); got != "sleep" {
			t.Errorf("its process is %q by the node's pid", got)
		}
	})
}

func TestIpcAndNetworkOfTheNode(t *testing.T) {
	n := startNode(t)
	n.pull()
	o := &runtimeapi.NamespaceOption{Pid: modeContainer, Ipc: modeNode, Network: modeNode}
	p := n.runPod("host", withOptions(o))
	c := p.run("c", forever, inOptions(o))
	for _, kind := range []string{"ipc", "net"} {
		if got := c.namespace(kind); got != nodeNamespace(t, kind) {
			t.Errorf("%s namespace %s is not the node's", kind, got)
		}
	}
	if s := p.status(); s.Network.GetIp() != "" {
		t.Errorf("a pod on the node's network has the address %s", s.Network.Ip)
	}
	if name, err := os.Hostname(); err != nil || c.sh("cat /etc/hostname") != name {
		t.Errorf("/etc/hostname is not the node's %q, %v", name, err)
	}
	own := n.runPod("own", nil).run("c", forever, nil)
	for _, kind := range []string{"ipc", "net", "uts", "mnt", "pid", "cgroup"} {
		if got := own.namespace(kind); got == nodeNamespace(t, kind) {
			t.Errorf("%s namespace is the node's", kind)
		}
	}
	for _, kind := range []string{"ipc", "net"} {
		// The root: /proc/1 of a container is a process of the same pod.
		if got := own.sh("readlink /proc/1/ns/" + kind); got != own.namespace(kind) {
			t.Errorf("an exec is in another %s namespace than its container", kind)
		}
	}
}

func TestHostnameDNSAndSysctls(t *testing.T) {
	n := startNode(t)
	n.pull()
	p := n.runPod("names", func(c *podConfig) {
		c.Hostname = "a-pod"
		c.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"192.0.2.7", "2001:db8::7"},
			Searches: []string{"e2e.svc.example", "example"}, Options: []string{"ndots:5"}}
		c.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1"}
	})
	c := p.run("c", forever, nil)
	if got := c.sh("hostname; cat /etc/hostname"); got != "a-pod\na-pod" {
		t.Errorf("hostname and file: %q", got)
	}
	want := "search e2e.svc.example example\nnameserver 192.0.2.7\nnameserver 2001:db8::7\noptions ndots:5"
	if got := c.sh("cat /etc/resolv.conf"); got != want {
		t.Errorf("resolv.conf:\n%s\nwant:\n%s", got, want)
	}
	if got := c.sh("cat /etc/hosts"); !strings.Contains(got, "a-pod") || !strings.Contains(got, p.status().Network.Ip) {
		t.Errorf("/etc/hosts has no line for the pod:\n%s", got)
	}
	if got := c.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"); got != "80\n1" {
		t.Errorf("sysctls inside: %q", got)
	}
	plain := n.runPod("plain", nil).run("c", forever, nil)
	for name, file := range map[string]string{
		"ip_unprivileged_port_start": "net/ipv4/ip_unprivileged_port_start", "shm_rmid_forced": "kernel/shm_rmid_forced",
	} {
		node, err := os.ReadFile("/proc/sys/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if name == "shm_rmid_forced" && plain.sh("cat /proc/sys/"+file) != "0" || strings.TrimSpace(string(node)) == "80" {
			t.Errorf("%s of one pod reached another, or the node: %s", name, node)
		}
	}
}
