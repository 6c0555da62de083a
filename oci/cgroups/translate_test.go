package cgroups

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocgroups "github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

func TestTranslate(t *testing.T) {
	in := &specs.LinuxResources{
		CPU: &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000)),
			Burst: ptr(uint64(1000)), Idle: ptr(int64(1)), Cpus: "0-1", Mems: "0"},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Reservation: ptr(int64(32 << 20)), Swap: ptr(int64(64 << 20)),
			Swappiness: ptr(uint64(10)), DisableOOMKiller: ptr(true)},
		Pids:           &specs.LinuxPids{Limit: ptr(int64(50))},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		Network:        &specs.LinuxNetwork{ClassID: ptr(uint32(7)), Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 3}}},
		BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(500)), ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{
			{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: 8, Minor: 1}, Rate: 1024}}},
	}
	got, err := translate(in, false)
	if err != nil {
		t.Fatal(err)
	}
	want := &ocgroups.Resources{
		SkipDevices: true,
		CpuShares:   1024, CpuQuota: 50000, CpuPeriod: 100000, CpuBurst: ptr(uint64(1000)), CPUIdle: ptr(int64(1)),
		CpusetCpus: "0-1", CpusetMems: "0",
		Memory: 64 << 20, MemoryReservation: 32 << 20, MemorySwap: 64 << 20, MemorySwappiness: ptr(uint64(10)), OomKillDisable: true,
		PidsLimit:        ptr(int64(50)),
		HugetlbLimit:     []*ocgroups.HugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		NetClsClassid:    7,
		NetPrioIfpriomap: []*ocgroups.IfPrioMap{{Interface: "eth0", Priority: 3}},
		BlkioWeight:      500,
	}
	want.BlkioThrottleReadBpsDevice = []*ocgroups.ThrottleDevice{ocgroups.NewThrottleDevice(8, 1, 1024)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("v1 (-want +got):\n%s", d)
	}
	in.Unified = map[string]string{"memory.high": "1000000"}
	if _, err := translate(in, false); err == nil || !strings.Contains(err.Error(), "unified") {
		t.Errorf("unified on v1: %v, want an error that names it", err)
	}
	got, err = translate(in, true)
	if err != nil {
		t.Fatal(err)
	}
	want.CpuShares, want.CpuWeight, want.Unified = 0, 100, in.Unified
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("v2 (-want +got):\n%s", d)
	}
}

func TestTranslateShares(t *testing.T) {
	for _, tc := range []struct{ shares, v1, weight uint64 }{
		{0, 0, 0}, {1, 2, 1}, {2, 2, 1}, {102, 102, 17}, {1024, 1024, 100}, {262144, 262144, 10000}, {1 << 40, 262144, 10000},
	} {
		r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &tc.shares}}
		v1, err1 := translate(r, false)
		v2, err2 := translate(r, true)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if v1.CpuShares != tc.v1 || v2.CpuWeight != tc.weight {
			t.Errorf("%d shares: v1 %d, weight %d; want %d, %d", tc.shares, v1.CpuShares, v2.CpuWeight, tc.v1, tc.weight)
		}
	}
}

func TestTranslateDevices(t *testing.T) {
	res, err := translate(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Major: ptr(int64(10)), Minor: ptr(int64(229)), Access: "wr"},
		{Allow: true, Type: "b", Major: ptr(int64(8))},
	}}, true)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range res.Devices {
		verb := "deny"
		if d.Allow {
			verb = "allow"
		}
		lines = append(lines, verb+" "+d.CgroupString())
	}
	want := []string{
		"deny a *:* rwm", "allow c 10:229 rw", "allow b 8:* rwm", // the caller's
		"allow c *:* m", "allow b *:* m", "allow c 1:3 rwm", "allow c 1:5 rwm", "allow c 1:7 rwm", "allow c 1:8 rwm",
		"allow c 1:9 rwm", "allow c 5:0 rwm", "allow c 5:1 rwm", "allow c 5:2 rwm", "allow c 136:* rwm",
	}
	if d := cmp.Diff(want, lines); d != "" || res.SkipDevices {
		t.Errorf("skip %v (-want +got):\n%s", res.SkipDevices, d)
	}
	for _, bad := range []specs.LinuxDeviceCgroup{{Type: "x"}, {Type: "c", Access: "rx"}} {
		if _, err := translate(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{bad}}, false); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

func TestHugetlbWithoutController(t *testing.T) {
	if err := needHugetlb(&ocgroups.Resources{HugetlbLimit: []*ocgroups.HugepageLimit{{Pagesize: "2MB"}}}); err != nil {
		t.Errorf("a limit of zero: %v", err)
	}
	if err := needHugetlb(&ocgroups.Resources{HugetlbLimit: []*ocgroups.HugepageLimit{{Pagesize: "2MB", Limit: 1}}}); err == nil {
		t.Error("a limit that nothing enforces: no error")
	}
}
