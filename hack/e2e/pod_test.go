package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Two containers of one pod share its network, its /dev/shm and a volume; the node reaches both by the
// pod's addresses and through a host port.
func TestContainersOfOnePod(t *testing.T) {
	n := startNode(t)
	n.pull()
	n.write("volume/index.html", "from the volume")
	port := freePort(t)
	p := n.runPod("two", func(c *podConfig) {
		c.PortMappings = []*runtimeapi.PortMapping{{Protocol: runtimeapi.Protocol_TCP, ContainerPort: 8080, HostPort: port}}
	})
	volume := func(c *containerConfig) {
		c.Mounts = []*runtimeapi.Mount{{HostPath: filepath.Join(n.dir, "volume"), ContainerPath: "/volume"}}
	}
	server := p.run("server", []string{"httpd", "-f", "-p", "8080", "-h", "/volume"}, volume)
	client := p.run("client", forever, volume)
	noDAD(client)

	eventually(t, "the server's listening", func() bool { return strings.Contains(client.sh("netstat -ltn"), ":8080") })
	if got := client.sh("wget -qO- http://127.0.0.1:8080/"); got != "from the volume" {
		t.Errorf("over the pod's loopback: %q", got)
	}
	client.sh("echo new >/volume/new; echo shared >/dev/shm/x")
	if got := server.sh("cat /volume/new /dev/shm/x"); got != "new\nshared" {
		t.Errorf("the other container sees %q", got)
	}
	if got, err := os.ReadFile(filepath.Join(n.dir, "volume/new")); err != nil || string(got) != "new\n" {
		t.Errorf("the node sees %q, %v", got, err)
	}
	s := p.status()
	targets := []string{net.JoinHostPort(s.Network.Ip, "8080"), fmt.Sprintf("127.0.0.1:%d", port)}
	for _, a := range s.Network.AdditionalIps {
		targets = append(targets, net.JoinHostPort(a.Ip, "8080"))
	}
	if a, err := nodeAddress(); err != nil {
		t.Logf("not tried on the node's own address: %v", err)
	} else {
		targets = append(targets, fmt.Sprintf("%s:%d", a, port))
	}
	for _, target := range targets {
		if got, err := get(target + "/new"); err != nil || got != "new\n" {
			t.Errorf("from the node at %s: %q, %v", target, got, err)
		}
	}
	server.stop(0)
	if got := client.sh("cat /dev/shm/x"); got != "shared" {
		t.Errorf("after the other container's end: %q", got)
	}
}

// noDAD checks that both families' addresses can be used at once: an IPv6 address is tentative while
// duplicates of it are looked for (RFC 4862), which takes a second or more.
func noDAD(c *container) {
	c.t.Helper()
	s := c.pod.status()
	all := []string{s.Network.Ip}
	for _, a := range s.Network.AdditionalIps {
		all = append(all, a.Ip)
	}
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		c.t.Logf("IPv4 only: this kernel has no IPv6")
		return
	}
	if len(all) != 2 || !netip.MustParseAddr(all[0]).Is4() || !netip.MustParseAddr(all[1]).Is6() {
		c.t.Errorf("addresses %v, want one of each family", all)
	}
	// Address, index, prefix length, scope, flags, link (net/ipv6/addrconf.c).
	const tentative = 0x40
	global := 0
	for _, line := range strings.Split(c.sh("cat /proc/net/if_inet6"), "\n") {
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != "eth0" || f[3] != "00" {
			continue
		}
		global++
		var flags int
		if _, err := fmt.Sscanf(f[4], "%x", &flags); err != nil || flags&tentative != 0 {
			c.t.Errorf("tentative or unreadable: %s", line)
		}
	}
	if global != 1 {
		c.t.Errorf("%d global IPv6 addresses inside", global)
	}
}

func freePort(t testing.TB) int32 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return int32(l.Addr().(*net.TCPAddr).Port)
}

// nodeAddress is the address that the node would go out with; connecting UDP sends nothing.
func nodeAddress() (netip.Addr, error) {
	c, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), nil
}

func get(target string) (string, error) {
	c := http.Client{Timeout: patience / 4, Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}
	var last error
	for range 3 { // a lost packet under load is no finding
		r, err := c.Get("http://" + target)
		if err != nil {
			last = err
			time.Sleep(10 * time.Millisecond)
			continue
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return string(b), err
	}
	return "", last
}
