package layout

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	l := New(DefaultRoot+"/", DefaultState+"/.")
	if l.Tag != "" || l.Bridge() != "slipway" || l.NFTable() != "slipway" || l.CgroupParent() != "/slipway" {
		t.Errorf("the default directories have a tag: %+v", l)
	}
	seen := map[string]string{"": "the default directories"}
	for _, dirs := range [][2]string{
		{"/a", "/b"}, {"/b", "/a"}, {"/a/b", "/"}, {"/a", "/b/"}, {DefaultRoot, "/b"}, {"/a", DefaultState},
		{"/ab", "/c"}, {"/a", "/bc"},
	} {
		l := New(dirs[0], dirs[1])
		if len(l.Tag) != 6 {
			t.Errorf("%v: tag %q", dirs, l.Tag)
		}
		if other, taken := seen[l.Tag]; taken && dirs != [2]string{"/a", "/b/"} {
			t.Errorf("%v have the tag of %s", dirs, other)
		}
		seen[l.Tag] = strings.Join(dirs[:], " and ")
		// IFNAMSIZ, netdevice(7), is 16 with the NUL; a CNI-like suffix is not added to the bridge.
		if b := l.Bridge(); len(b) > 15 || !strings.HasSuffix(b, l.Tag) {
			t.Errorf("%v: bridge %q", dirs, b)
		}
		if !strings.HasSuffix(l.NFTable(), l.Tag) || !strings.HasSuffix(l.CgroupParent(), l.Tag) {
			t.Errorf("%v: table %q, cgroup %q", dirs, l.NFTable(), l.CgroupParent())
		}
	}
	if New("/a", "/b").Tag != New("/a/", "/b/.").Tag {
		t.Error("the same directories in other words have another tag")
	}
}

func TestPlaces(t *testing.T) {
	l := New("/root", "/state")
	for got, want := range map[string]string{
		l.Socket():           "/state/slipway.sock",
		l.MonitorSocket():    "/state/monitor.sock",
		l.MonitorLog():       "/state/monitor.log",
		l.ExitDir():          "/state/exits",
		l.PodState("x"):      "/state/pods/x",
		l.PodRecords():       "/root/pods",
		l.ContainerRecords(): "/root/containers",
		l.ContainerDir("x"):  "/root/containers/x",
		l.Images():           "/root/images",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if filepath.Dir(l.PodState("x")) != filepath.Dir(l.PodState("y")) {
		t.Error("pods' states are apart")
	}
}
