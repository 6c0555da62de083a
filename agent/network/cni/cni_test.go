package cni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix" // errno values

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/networktest"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

func TestMain(m *testing.M) { networktest.Main(m) }

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

const bridgeName = "swcnitest0"

// conflist uses Debian's plugins; all names and the leases' directory are the test's own.
func conflist(dataDir string, ports bool) string {
	portmap := ""
	if ports {
		portmap = `, {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}`
	}
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0", "name": "swcnitest",
  "plugins": [{
    "type": "bridge", "bridge": %q, "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": {"type": "host-local", "dataDir": %q, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
      "ranges": [[{"subnet": "10.213.7.0/24"}], [{"subnet": "fd5a:213:7::/64"}]]}
  }%s]
}`, bridgeName, dataDir, portmap)
}

// needPlugins skips where Debian's plugins, or the iptables that they run, are missing.
func needPlugins(t testing.TB) {
	t.Helper()
	kerneltest.NeedRoot(t)
	for _, p := range []string{"bridge", "host-local", "portmap", "loopback"} {
		if _, err := os.Stat(filepath.Join("/usr/lib/cni", p)); err != nil {
			t.Skipf("needs containernetworking-plugins: %v", err)
		}
	}
	if err := exec.Command("iptables", "-w", "-t", "nat", "-S").Run(); err != nil {
		t.Skipf("needs iptables, which the plugins execute: %v", err)
	}
}

func openIn(t testing.TB, dir string) network.Network {
	t.Helper()
	confDir := filepath.Join(dir, "net.d")
	if err := os.MkdirAll(confDir, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := conflist(filepath.Join(dir, "leases"), true)
	if err := os.WriteFile(filepath.Join(confDir, "10-test.conflist"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := New(Options{ConfDir: confDir, BinDirs: []string{"/usr/lib/cni"}, CacheDir: filepath.Join(dir, "cache"), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestContract runs real plugins. The bridge, and the chains that iptables leaves in its
// own tables, are the plugins' and not the driver's to remove: the test does it.
func TestContract(t *testing.T) {
	needPlugins(t)
	for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+s, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	networktest.Contract(t, networktest.Subject{
		Name: "swcnitest",
		Open: openIn,
		Purge: func(t testing.TB, n network.Network) {
			if left := leases(t, n.(*Driver)); len(left) > 0 {
				t.Errorf("leases left: %v", left)
			}
			if err := n.Close(true); err != nil {
				t.Error("Close:", err)
			}
			if l, err := netlink.LinkByName(bridgeName); err == nil {
				if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
					t.Error(err)
				}
			}
			if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
				t.Errorf("nft: %v: %s", err, out) // of the test's own network namespace
			}
		},
		IPv6: true, Ports: true, Parallel: 8,
	})
}

func leases(t testing.TB, d *Driver) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(d.o.CacheDir), "leases", "*", "[0-9f]*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	clock := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	conf, bin := filepath.Join(dir, "net.d"), filepath.Join(dir, "bin")
	d, err := New(Options{ConfDir: conf, BinDirs: []string{bin}, CacheDir: filepath.Join(dir, "cache"), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(part string) {
		t.Helper()
		err := d.Ready()
		if part == "" && err != nil || part != "" && (err == nil || !strings.Contains(err.Error(), part)) {
			t.Errorf("Ready: %v; want %q in it", err, part)
		}
		if part != "" && !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Errorf("Ready: %v is not unavailable", err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(conf, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(conf, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// The clock of file systems is coarse; the time must differ.
		clock = clock.Add(time.Second)
		if err := os.Chtimes(path, clock, clock); err != nil {
			t.Fatal(err)
		}
	}
	expect("cni config uninitialized: no .conflist")
	write("50-late.conf", `{"cniVersion":"1.0.0","name":"late","type":"ptp"}`)
	expect(`plugin "ptp"`)
	if d.Name() != "cni (late)" || !d.Present() {
		t.Errorf("name %q, present %v", d.Name(), d.Present())
	}
	write("10-first.conflist", `{"cniVersion":"1.0.0","name":"first","plugins":[{"type":"bridge"}]}`)
	expect(`plugin "bridge"`)
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "bridge"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	expect("")
	write("10-first.conflist", `{"cniVersion":"1.0.0","name":"first","plug`)
	expect("10-first.conflist")
	write("10-first.conflist", `{"cniVersion":"1.0.0","name":"first","plugins":[]}`)
	expect("cni config uninitialized")
	if _, err := d.Setup(context.Background(), network.Pod{ID: "p"}); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("Setup without a configuration: %v", err)
	}
}

func TestResult(t *testing.T) {
	for name, c := range map[string]struct {
		result string
		want   []string
		err    string
	}{
		"both families": {
			result: `{"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],
				"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":1},{"address":"fd00::3/64","interface":1}]}`,
			want: []string{"10.1.2.3/24", "fd00::3/64"},
		},
		"the host's address is not the pod's": {
			result: `{"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],
				"ips":[{"address":"10.1.2.1/24","interface":0},{"address":"10.1.2.3/24","interface":1}]}`,
			want: []string{"10.1.2.3/24"},
		},
		"no interface named": {result: `{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}`, want: []string{"10.1.2.3/24"}},
		"no address":         {result: `{"cniVersion":"1.0.0"}`, err: "no address for eth0"},
		"no such interface":  {result: `{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24","interface":7}]}`, err: "no address"},
		"negative interface": {result: `{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24","interface":-1}]}`, err: "no address"},
		"unspecified":        {result: `{"cniVersion":"1.0.0","ips":[{"address":"0.0.0.0/0"}]}`, err: "is no address"},
		"loopback":           {result: `{"cniVersion":"1.0.0","ips":[{"address":"127.0.0.1/8"}]}`, err: "is no address"},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := types100.NewResult([]byte(c.result))
			if err != nil {
				t.Fatal(err)
			}
			res, err := toResult(raw)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range res.IPs {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if len(res.Raw) == 0 {
				t.Error("no Raw: the pod would be taken for the bridge's")
			}
		})
	}
}

func TestRuntimeConf(t *testing.T) {
	rt := runtimeConf(network.Pod{
		ID: "id", Name: "name", Namespace: "space", UID: "uid", NetNS: "/ns",
		Ports: []network.PortMapping{
			{Protocol: "tcp", HostPort: 8080, ContainerPort: 80, HostIP: netip.MustParseAddr("127.0.0.1")},
			{Protocol: "tcp", ContainerPort: 81},
		},
	})
	wantArgs := [][2]string{
		{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "space"}, {"K8S_POD_NAME", "name"},
		{"K8S_POD_INFRA_CONTAINER_ID", "id"}, {"K8S_POD_UID", "uid"},
	}
	if diff := cmp.Diff(wantArgs, rt.Args); diff != "" {
		t.Error(diff)
	}
	wantCaps := map[string]any{"portMappings": []portMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp", HostIP: "127.0.0.1"}}}
	if diff := cmp.Diff(wantCaps, rt.CapabilityArgs); diff != "" {
		t.Error(diff)
	}
}

// TestAddFailureIsUndone has a plugin that fails on ADD and notes each call.
func TestAddFailureIsUndone(t *testing.T) {
	kerneltest.NeedRoot(t)
	dir := t.TempDir()
	networktest.Balance(t, "", dir)
	calls := filepath.Join(dir, "calls")
	plugin := "#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND $CNI_CONTAINERID >>" + calls + "\n" +
		`[ $CNI_COMMAND = ADD ] && { echo '{"cniVersion":"1.0.0","code":11,"msg":"try later"}'; exit 1; }` + "\nexit 0\n"
	for path, text := range map[string]string{
		"bin/flaky":                 plugin,
		"net.d/10-flaky.conflist":   `{"cniVersion":"1.0.0","name":"flaky","plugins":[{"type":"flaky"}]}`,
		"net.d/20-ignored.conflist": `{"cniVersion":"1.0.0","name":"ignored","plugins":[{"type":"none"}]}`,
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d, err := New(Options{
		ConfDir: filepath.Join(dir, "net.d"), BinDirs: []string{filepath.Join(dir, "bin")},
		CacheDir: filepath.Join(dir, "cache"), Log: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ns := networktest.NewNamespace(t, dir, "ns")
	p := network.Pod{ID: "pod1", NetNS: ns.Path}
	if _, err := d.Setup(context.Background(), p); err == nil || !strings.Contains(err.Error(), "try later") {
		t.Fatalf("Setup: %v; want the plugin's words", err)
	}
	ns.Remove()
	// An ADD that was cut off left no cache: Teardown asks the present configuration.
	if err := d.Teardown(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	if want := "ADD pod1\nDEL pod1\nDEL pod1\n"; string(got) != want {
		t.Errorf("calls:\n%swant:\n%s", got, want)
	}
}
