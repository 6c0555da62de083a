package initproc

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/oci/initconf"
)

func TestHomeOf(t *testing.T) {
	passwd := "root:x:0:0:root:/root:/bin/sh\n# comment\nshort:x:5\napp:x:10:10::/srv/app:\nevil:x:11:11::/a\tb:\nrel:x:12:12::home:\nlast:x:13:13::/last:/bin/sh"
	for uid, want := range map[uint32]string{0: "/root", 10: "/srv/app", 11: "", 12: "", 13: "/last", 14: ""} {
		if got := homeOf([]byte(passwd), uid); got != want {
			t.Errorf("uid %d: %q, want %q", uid, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	c := &initconf.Config{Env: []string{"A=1", "HOME=/mine"}}
	if got := environment(c); !slices.Equal(got, c.Env) {
		t.Errorf("%v", got)
	}
	if v, ok := lookupEnv([]string{"PATHS=x", "PATH="}, "PATH"); v != "" || !ok {
		t.Errorf("%q %v", v, ok)
	}
}

func TestItoa(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", -998: "-998", 4294967295: "4294967295"} {
		if got := itoa(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// TestImports holds slipway-init small: each of these would be paid for at every
// container start.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/slipway-cri/slipway/cmd/slipway-init").Output()
	if err != nil {
		t.Skipf("needs the go command: %v", err)
	}
	deps := strings.Fields(string(out))
	for _, banned := range []string{"os", "fmt", "net", "encoding/json", "context", "regexp", "github.com/sirupsen/logrus"} {
		if slices.Contains(deps, banned) {
			t.Errorf("slipway-init imports %s", banned)
		}
	}
}
