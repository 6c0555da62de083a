package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defaultCaps are the 14 of every runtime of the field, as in capability.h.
const defaultCaps = 0xa80425fb

// ownStatus reads a line of this process's /proc status.
func ownStatus(t *testing.T, key string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(l, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("no %s in /proc/self/status", key)
	return ""
}

type securityTest struct {
	name   string
	edit   func(*containerConfig)
	script string
	want   string
}

// statusOf prints lines of the shell's own status, "name value" each.
func statusOf(keys ...string) string {
	return "grep -E '^(" + strings.Join(keys, "|") + "):' /proc/self/status | tr -d '\\t'"
}

func caps(v uint64) string { return fmt.Sprintf("%016x", v) }

func capabilityTests(bounding string) []securityTest {
	all := statusOf("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
	lines := func(v string) string {
		return fmt.Sprintf("CapInh:%s\nCapPrm:%s\nCapEff:%s\nCapBnd:%s\nCapAmb:%s\n", caps(0), v, v, v, caps(0))
	}
	change := func(add, drop []string) func(*containerConfig) {
		return func(c *containerConfig) {
			c.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{AddCapabilities: add, DropCapabilities: drop}
		}
	}
	return []securityTest{
		{"default capabilities", nil, all, lines(caps(defaultCaps))},
		{"drop ALL", change(nil, []string{"ALL"}), all, lines(caps(0))},
		{"add NET_ADMIN", change([]string{"NET_ADMIN"}, nil), all, lines(caps(defaultCaps | 1<<12))},
		{"drop ALL, add CHOWN", change([]string{"CHOWN"}, []string{"ALL"}), all, lines(caps(1))},
		{"add ALL", change([]string{"ALL"}, nil), all, lines(bounding)},
		{"privileged", func(c *containerConfig) { c.Linux.SecurityContext.Privileged = true }, all, lines(bounding)},
	}
}

func userTests() []securityTest {
	const ids = "id -u; id -g; id -G"
	return []securityTest{
		{"root", nil, ids, "0\n0\n0\n"},
		{"numbers", func(c *containerConfig) {
			s := c.Linux.SecurityContext
			s.RunAsUser, s.RunAsGroup = &runtimeapi.Int64Value{Value: 1234}, &runtimeapi.Int64Value{Value: 2345}
			s.SupplementalGroups = []int64{10, 20}
		}, ids + "; " + statusOf("CapEff"), "1234\n2345\n2345 10 20\nCapEff:" + caps(0) + "\n"},
		{"a name of the image's", func(c *containerConfig) { c.Linux.SecurityContext.RunAsUsername = "nobody" },
			"id -u; id -g", "65534\n65534\n"},
	}
}

func fileTests() []securityTest {
	try := func(cmd string) string { return cmd + " 2>&1 | sed 's/.*: //'" }
	return []securityTest{
		{"read-only root", func(c *containerConfig) { c.Linux.SecurityContext.ReadonlyRootfs = true },
			try("touch /x") + "; " + try("touch /etc/hosts") + "; touch /dev/shm/x && echo shm", "Read-only file system\nRead-only file system\nshm\n"},
		{"writable root", nil, "touch /x && echo yes", "yes\n"},
		{"masked and read-only paths", func(c *containerConfig) {
			c.Linux.SecurityContext.MaskedPaths = []string{"/proc/interrupts", "/sys/firmware", "/proc/no-such"}
			c.Linux.SecurityContext.ReadonlyPaths = []string{"/proc/sys", "/proc/no-such"}
		}, "wc -c </proc/interrupts; ls /sys/firmware | wc -l; " + try("(echo 1 >/proc/sys/kernel/shm_rmid_forced)"),
			"0\n0\nRead-only file system\n"},
		{"sysfs", nil, "(echo 1 >/sys/kernel/x) 2>/dev/null || grep -o ' /sys sysfs ro' /proc/mounts", " /sys sysfs ro\n"},
		{"device", func(c *containerConfig) {
			c.Devices = []*runtimeapi.Device{{HostPath: "/dev/null", ContainerPath: "/dev/mine", Permissions: "rwm"}}
		}, "echo x >/dev/mine && stat -c %t:%T /dev/mine", "1:3\n"},
		{"no device", nil, "mknod /tmp/kmsg c 1 11 && (: </tmp/kmsg) 2>&1 | sed 's/.*: //'", "Operation not permitted\n"},
	}
}

func filterTests(profile string) []securityTest {
	seccomp := func(p *runtimeapi.SecurityProfile) func(*containerConfig) {
		return func(c *containerConfig) { c.Linux.SecurityContext.Seccomp = p }
	}
	return []securityTest{
		{"unconfined", nil, statusOf("NoNewPrivs", "Seccomp"), "NoNewPrivs:0\nSeccomp:0\n"},
		{"no new privileges", func(c *containerConfig) { c.Linux.SecurityContext.NoNewPrivs = true },
			statusOf("NoNewPrivs"), "NoNewPrivs:1\n"},
		{"seccomp default", seccomp(&runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}),
			statusOf("Seccomp") + "; unshare -U true 2>&1 | sed 's/.*: //'", "Seccomp:2\nOperation not permitted\n"},
		{"seccomp file", seccomp(&runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: profile}),
			statusOf("Seccomp") + "; mkdir /tmp/x 2>&1 | sed 's/.*: //'; touch /tmp/y && echo made", "Seccomp:2\nOperation not supported\nmade\n"},
	}
}

// Each is looked at twice: by the container's own program and by an exec into it.
func TestSecurity(t *testing.T) {
	n := startNode(t)
	n.pull()
	profile := n.write("profile.json", `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
		[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}`)
	p := n.runPod("security", nil)
	privileged := n.runPod("privileged", func(c *podConfig) { c.Linux.SecurityContext.Privileged = true })
	tests := capabilityTests(ownStatus(t, "CapBnd"))
	tests = append(tests, userTests()...)
	tests = append(tests, fileTests()...)
	tests = append(tests, filterTests(profile)...)
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := p
			if test.name == "privileged" {
				in = privileged
			}
			main := in.run(fmt.Sprintf("main%d", i), []string{"sh", "-c", test.script}, test.edit)
			main.exit()
			if got := main.output(); got != test.want {
				t.Errorf("the container's program:\n%swant:\n%s", got, test.want)
			}
			main.remove()
			c := in.run(fmt.Sprintf("exec%d", i), forever, test.edit)
			r := c.execSync("sh", "-c", test.script)
			if got := string(r.Stdout); got != test.want {
				t.Errorf("an exec:\n%s%swant:\n%s", got, r.Stderr, test.want)
			}
			c.stop(0)
			c.remove()
		})
	}
}
