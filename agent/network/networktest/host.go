// Package networktest holds the contract that every network driver keeps, and the hosts
// it is tried on: the whole test binary runs in a network namespace of its own, with a
// second one as the world outside, so that nothing of the machine is touched. It is for
// tests only.
package networktest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix" // namespaces and mounts

	"github.com/slipway-cri/slipway/agent/network/rtnl"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// The test host's address towards the world, and the world's, by family.
var (
	Node4  = netip.MustParseAddr("198.51.100.1")
	Node6  = netip.MustParseAddr("2001:db8::1")
	World4 = netip.MustParseAddr("198.51.100.2")
	World6 = netip.MustParseAddr("2001:db8::2")
)

const inside = "SLIPWAY_NETWORKTEST"

// worldPin is the namespace outside the node, made once a process.
var worldPin string

// Main runs the tests: as root in new network and mount namespaces, by executing the
// test binary again. Use it as func TestMain(m *testing.M) { networktest.Main(m) }.
func Main(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // tests that need root skip themselves
	}
	if os.Getenv(inside) == "" {
		os.Exit(reexec())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "networktest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := makeHost(dir); err != nil {
		fmt.Fprintln(os.Stderr, "make the test host:", err)
		return 1
	}
	defer func() { _ = unix.Unmount(worldPin, unix.MNT_DETACH) }()
	return m.Run()
}

func reexec() int {
	runtime.LockOSThread() // the parent-death signal is tied to the thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "run the tests in a network namespace:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

func makeHost(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	worldPin = filepath.Join(dir, "world")
	if err := pin(worldPin); err != nil {
		return err
	}
	world, err := os.Open(worldPin)
	if err != nil {
		return err
	}
	defer func() { _ = world.Close() }()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "uplink", 1450
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "uplink", PeerNamespace: netlink.NsFd(int(world.Fd()))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add uplink: %w", err)
	}
	if err := address("uplink", Node4, Node6); err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Gw: World4.AsSlice()}); err != nil {
		return fmt.Errorf("add default route: %w", err)
	}
	return rtnl.Within(int(world.Fd()), func() error { return address("uplink", World4, World6) })
}

func address(link string, v4, v6 netip.Addr) error {
	for name, addrs := range map[string][]netip.Prefix{
		"lo": nil, link: {netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64)},
	} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		for _, a := range addrs {
			n := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
			if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: n, Flags: unix.IFA_F_NODAD}); err != nil {
				return fmt.Errorf("add %s: %w", a, err)
			}
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("bring up %s: %w", name, err)
		}
	}
	return nil
}

// pin makes a network namespace and binds it to path, on a thread that goes back.
func pin(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	return rtnl.Within(int(home.Fd()), func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		return os.NewSyscallError("mount", unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""))
	})
}

// Namespace is a pod's network namespace, pinned at Path until Remove or the test's end.
type Namespace struct {
	Path string
	once sync.Once
}

// NewNamespace makes one in dir.
func NewNamespace(t testing.TB, dir, name string) *Namespace {
	t.Helper()
	n := &Namespace{Path: filepath.Join(dir, name)}
	if err := pin(n.Path); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(n.Remove)
	return n
}

// World is the namespace outside the node.
func World() *Namespace { return &Namespace{Path: worldPin} }

// Remove unpins the namespace; the kernel takes it down when nothing is open in it.
func (n *Namespace) Remove() {
	n.once.Do(func() {
		_ = unix.Unmount(n.Path, unix.MNT_DETACH)
		_ = os.Remove(n.Path)
	})
}

// Do runs f on a thread in the namespace; a nil Namespace is the node itself.
func (n *Namespace) Do(f func() error) error {
	if n == nil {
		return f()
	}
	ns, err := os.Open(n.Path)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	return rtnl.Within(int(ns.Fd()), f)
}

// Balance checks at the test's end that the node has the links, addresses, routes, nft
// tables and, of what is claimed by dirs and name, all else that it had before.
func Balance(t testing.TB, name string, dirs ...string) {
	t.Helper()
	kerneltest.NeedRoot(t)
	kerneltest.Balance(t, kerneltest.Scope{Name: name, Dirs: dirs, Extra: map[string]func() []string{
		"address": Addresses,
		"route":   Routes,
		"nft":     Tables,
	}})
}

// Addresses, Routes and Tables list what the node has.
func Addresses() []string {
	list, _ := netlink.AddrList(nil, unix.AF_UNSPEC)
	list = slices.DeleteFunc(list, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() })
	return texts(list, func(a netlink.Addr) string { return a.IPNet.String() })
}

func Routes() []string {
	list, _ := netlink.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	// The test host's own come and go by themselves with forwarding (anycast) and time
	// (link-local addresses).
	up, _ := netlink.LinkByName("uplink")
	list = slices.DeleteFunc(list, func(r netlink.Route) bool { return up != nil && r.LinkIndex == up.Attrs().Index })
	return texts(list, func(r netlink.Route) string { return r.String() })
}

func Tables() []string {
	c, err := nftables.New()
	if err != nil {
		return []string{err.Error()}
	}
	list, _ := c.ListTables()
	return texts(list, func(t *nftables.Table) string { return fmt.Sprint(t.Family, " ", t.Name) })
}

// Links lists the node's links whose names contain part.
func Links(part string) []string {
	list, _ := netlink.LinkList()
	return slices.DeleteFunc(texts(list, func(l netlink.Link) string { return l.Attrs().Name }),
		func(name string) bool { return !strings.Contains(name, part) })
}

func texts[T any](list []T, text func(T) string) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = text(e)
	}
	slices.Sort(out)
	return out
}
