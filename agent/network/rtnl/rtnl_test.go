package rtnl_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix" // rtnetlink constants

	"github.com/slipway-cri/slipway/agent/network/networktest"
	"github.com/slipway-cri/slipway/agent/network/rtnl"
)

func TestMain(m *testing.M) { networktest.Main(m) }

func addPair(name string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	req.AddData(info)
	return req
}

// TestBatch: a refused message in the middle does not stop the others, and the error
// tells which one it was and why.
func TestBatch(t *testing.T) {
	networktest.Balance(t, "rtnltest")
	c, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	err = c.Do(addPair("rtnltest0"), addPair("rtnltest0"), addPair("rtnltest-name-too-long"), addPair("rtnltest1"))
	var refused *rtnl.Error
	if !errors.As(err, &refused) || refused.Index != 1 || !errors.Is(err, unix.EEXIST) {
		t.Errorf("%v; want message 1 refused with EEXIST", err)
	}
	if !strings.Contains(fmt.Sprint(err), "message 2") {
		t.Errorf("%v; want message 2 in it", err)
	}
	if links := networktest.Links("rtnltest"); len(links) != 2 {
		t.Errorf("links %v, want rtnltest0 and rtnltest1", links)
	}
	for _, name := range []string{"rtnltest0", "rtnltest1"} {
		if err := rtnl.DeleteLink(name); err != nil {
			t.Error(err)
		}
		if err := rtnl.DeleteLink(name); !errors.Is(err, unix.ENODEV) {
			t.Errorf("again: %v, want ENODEV", err)
		}
	}
}

// TestDeleteIsOutOfSight: neither end can be found once DeleteLink has returned, and
// their names are free, with many at once.
func TestDeleteIsOutOfSight(t *testing.T) {
	networktest.Balance(t, "rtnltest")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprint("rtnltest", i)
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			pair := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"}
			for range 3 {
				if err := netlink.LinkAdd(pair); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if err := rtnl.DeleteLink(name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				for _, end := range []string{name, name + "p"} {
					if _, err := os.Stat("/proc/sys/net/ipv4/conf/" + end); err == nil {
						if _, err := netlink.LinkByName(end); err == nil {
							t.Errorf("%s can still be found", end)
						}
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestWithin: the work is done in the namespace, and no thread stays there.
func TestWithin(t *testing.T) {
	dir := t.TempDir()
	networktest.Balance(t, "", dir)
	ns := networktest.NewNamespace(t, dir, "ns")
	f, err := os.Open(ns.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	home, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("f's error")
	for range 20 {
		err := rtnl.Within(int(f.Fd()), func() error {
			if here, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || here == home {
				t.Errorf("in %s, %v", here, err)
			}
			return cause
		})
		if !errors.Is(err, cause) {
			t.Fatalf("%v, want f's error", err)
		}
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if there, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net"); err == nil && there != home {
			t.Errorf("thread %s stayed in %s", task.Name(), there)
		}
	}
	if err := rtnl.Within(-1, func() error { return nil }); !errors.Is(err, unix.EBADF) {
		t.Errorf("no namespace: %v, want EBADF", err)
	}
}
