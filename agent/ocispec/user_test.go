package ocispec

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestImageUser(t *testing.T) {
	for user, want := range map[string]struct {
		uid, gid uint32
		groups   []uint32
		home     string
	}{
		"":           {0, 0, []uint32{0}, "/root"},
		"0":          {0, 0, []uint32{0}, "/root"},
		"app":        {1000, 1001, []uint32{1001, 29, 44}, "/home/app"},
		"1000":       {1000, 1001, []uint32{1001, 29, 44}, "/home/app"},
		"01000":      {1000, 1001, []uint32{1001, 29, 44}, "/home/app"},
		"app:audio":  {1000, 29, []uint32{29, 44}, "/home/app"},
		"app:7":      {1000, 7, []uint32{7, 29, 44}, "/home/app"},
		"5000":       {5000, 0, []uint32{0}, "/"},
		"5000:6000":  {5000, 6000, []uint32{6000}, "/"},
		"2147483647": {2147483647, 0, []uint32{0}, "/"},
		"1002":       {1002, 0, []uint32{0}, "/"}, // not the user of that name
		"1002:1002":  {1002, 1002, []uint32{1002}, "/"},
	} {
		t.Run(user, func(t *testing.T) {
			in := base()
			in.Image.Config.User = user
			out, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			u := out.Spec.Process.User
			if u.UID != want.uid || u.GID != want.gid {
				t.Errorf("uid %d gid %d, want %d %d", u.UID, u.GID, want.uid, want.gid)
			}
			if d := cmp.Diff(want.groups, u.AdditionalGids); d != "" {
				t.Errorf("groups: %s", d)
			}
			if home := envOf(out, "HOME"); home != want.home {
				t.Errorf("HOME %q, want %q", home, want.home)
			}
			if l := out.User.GetLinux(); l.GetUid() != int64(want.uid) || l.GetGid() != int64(want.gid) ||
				len(l.GetSupplementalGroups()) != len(want.groups) {
				t.Errorf("status says %v", l)
			}
		})
	}
}

func envOf(out *Output, name string) string {
	for _, kv := range out.Spec.Process.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// CVE-2024-40635, CVE-2026-46680, CVE-2026-30892: never root, never a name.
func TestOddUsersAreRefused(t *testing.T) {
	for _, user := range []string{
		"2147483648", "4294967296", "4294967295", "18446744073709551616", "99999999999999999999", "-1", "+0", "0x0",
		"1e3", ":0", ":", "app:", "0:2147483648", "0:-1", "nobody", "app:nogroup", "broken", "huge", "app:bad",
		" app", "app\n", "app\x00", "app:audio:x", "../app",
	} {
		in := base()
		in.Image.Config.User = user
		if out, err := Build(in); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("USER %q: %v, %v", user, out, err)
		}
	}
}

func TestRunAsOverridesImage(t *testing.T) {
	in := base()
	in.Image.Config.User = "app:audio"
	in.security().RunAsUsername = "daemon"
	in.security().SupplementalGroups = []int64{5, 29}
	out, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	if u := out.Spec.Process.User; u.UID != 1 || u.GID != 1 || !cmp.Equal(u.AdditionalGids, []uint32{1, 29, 44, 5}) {
		t.Errorf("merge: %+v", u)
	}
	in.security().SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
	if out, err = Build(in); err != nil {
		t.Fatal(err)
	}
	if u := out.Spec.Process.User; !cmp.Equal(u.AdditionalGids, []uint32{1, 5, 29}) {
		t.Errorf("strict: %+v", u)
	}
}

// CVE-2026-47262: what an image can put into the two files is bounded.
func TestHostileFiles(t *testing.T) {
	long := "app:x:1000:1001:" + strings.Repeat("x", maxLine) + ":/:/bin/sh\n"
	for name, change := range map[string]func(*Input){
		"long passwd line": func(in *Input) { in.Passwd = []byte(long) },
		"long group line":  func(in *Input) { in.Group = []byte("g:x:1:" + strings.Repeat("app,", maxLine/4) + "\n") },
		"large group":      func(in *Input) { in.Group = make([]byte, maxFile+1) },
		"too many groups": func(in *Input) {
			var b strings.Builder
			for i := range maxGroups + 1 {
				b.WriteString("g:x:" + itoa(i+1) + ":app\n")
			}
			in.Group = []byte(b.String())
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := base()
			in.Image.Config.User = "app"
			change(&in)
			if _, err := Build(in); !errors.Is(err, lifecycle.ErrInvalid) {
				t.Error(err)
			}
		})
	}
	in := base()
	in.Passwd, in.Group = nil, nil
	if out, err := Build(in); err != nil || envOf(out, "HOME") != "/" {
		t.Errorf("an image without the files: %v", err)
	}
}

func itoa(i int) string {
	s := ""
	for ; i > 0; i /= 10 {
		s = string(rune('0'+i%10)) + s
	}
	return s
}

func FuzzImageUser(f *testing.F) {
	for _, s := range []string{"0", "app:audio", "-1", "4294967296", "1002"} {
		f.Add(s, passwdFile)
	}
	f.Fuzz(func(t *testing.T, user, passwd string) {
		in := base()
		in.Image.Config.User, in.Passwd = user, []byte(passwd)
		out, err := Build(in)
		if err != nil {
			return
		}
		u := out.Spec.Process.User
		if u.UID == 0 && isDigits(user) && strings.Trim(user, "0") != "" {
			t.Errorf("USER %q became root", user)
		}
		if hasControl(envOf(out, "HOME")) {
			t.Errorf("HOME %q", envOf(out, "HOME"))
		}
	})
}
