package seccomp

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCache(t *testing.T) {
	c := NewCache(2)
	profile := func(name string) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{allow(name)}}
	}
	get := func(s *specs.LinuxSeccomp) []byte {
		prog, _, err := c.Compile(s, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		want, _, _ := Compile(s, "amd64")
		if !bytes.Equal(prog, want) {
			t.Fatal("the cache gives another program")
		}
		return prog
	}
	first := get(profile("read"))
	if again := get(profile("read")); &first[0] != &again[0] {
		t.Error("an equal profile was compiled again")
	}
	get(profile("write"))
	get(profile("read"))
	get(profile("open")) // drops write, the one used longest ago
	if again := get(profile("read")); &first[0] != &again[0] {
		t.Error("the profile used last was dropped")
	}
	if c.Len() != 2 {
		t.Errorf("%d programs in a cache of 2", c.Len())
	}
	var none *Cache
	if prog, _, err := none.Compile(profile("read"), "amd64"); err != nil || len(prog) == 0 {
		t.Errorf("nil cache: %d bytes, %v", len(prog), err)
	}
	if prog, _, err := c.Compile(nil, "amd64"); err != nil || prog != nil {
		t.Errorf("nil profile: %v, %v", prog, err)
	}
}

// Every field that the compiler looks at must be in the key.
func TestCacheKeys(t *testing.T) {
	one := uint(1)
	base := func() *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, specs.OpEqualTo, 1, 0)}}}}
	}
	seen := []string{string(appendKey(nil, base(), "amd64")), string(appendKey(nil, base(), "arm64"))}
	for i, change := range []func(*specs.LinuxSeccomp){
		func(s *specs.LinuxSeccomp) { s.DefaultAction = specs.ActKill },
		func(s *specs.LinuxSeccomp) { s.DefaultErrnoRet = &one },
		func(s *specs.LinuxSeccomp) { s.Architectures = nil },
		func(s *specs.LinuxSeccomp) { s.Flags = []specs.LinuxSeccompFlag{} },
		func(s *specs.LinuxSeccomp) { s.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog} },
		func(s *specs.LinuxSeccomp) { s.ListenerPath = "/x" },
		func(s *specs.LinuxSeccomp) { s.ListenerMetadata = "/x" },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Names = []string{"read"} },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Names = []string{"readwrite"} },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Action = specs.ActLog },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].ErrnoRet = &one },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args[0].Index = 1 },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args[0].Value = 2 },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args[0].ValueTwo = 1 },
		func(s *specs.LinuxSeccomp) { s.Syscalls[0].Args[0].Op = specs.OpNotEqual },
		func(s *specs.LinuxSeccomp) { s.Syscalls = append(s.Syscalls, allow("open")) },
	} {
		s := base()
		change(s)
		key := string(appendKey(nil, s, "amd64"))
		if slices.Contains(seen, key) {
			t.Errorf("change %d has the key of another profile", i)
		}
		seen = append(seen, key)
	}
}

func TestCacheConcurrently(t *testing.T) {
	c := NewCache(4)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 40 {
				s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{allow(someNames[(i+j)%6])}}
				if _, _, err := c.Compile(s, "amd64"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if c.Len() > 4 {
		t.Errorf("%d programs in a cache of 4", c.Len())
	}
}
