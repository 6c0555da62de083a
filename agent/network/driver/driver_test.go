package driver

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/network"
)

// named records what it is asked.
type named struct {
	name string
	log  *[]string
	raw  []byte
}

func (n named) say(what string, id string) { *n.log = append(*n.log, n.name+" "+what+" "+id) }
func (n named) Name() string               { return n.name }
func (n named) Ready() error               { return errors.New(n.name + " is not ready") }
func (n named) Close(bool) error           { n.say("close", ""); return nil }
func (n named) Setup(_ context.Context, p network.Pod) (*network.Result, error) {
	n.say("setup", p.ID)
	return &network.Result{IPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}, Raw: n.raw}, nil
}
func (n named) Teardown(_ context.Context, p network.Pod) error { n.say("teardown", p.ID); return nil }
func (n named) Check(_ context.Context, p network.Pod) error    { n.say("check", p.ID); return nil }
func (n named) Recover(_ context.Context, pods []network.Pod) error {
	var ids []string
	for _, p := range pods {
		ids = append(ids, p.ID)
	}
	n.say("recover", strings.Join(ids, ","))
	return nil
}

func fakeDriver(present *bool, never bool) (*Driver, *[]string) {
	var log []string
	return &Driver{
		bridge: named{"bridge", &log, nil}, cni: named{"cni", &log, []byte("{}")},
		present: func() bool { return *present }, never: never,
	}, &log
}

// TestChoiceFollowsTheConfiguration: a configuration appears, and is gone for a moment.
func TestChoiceFollowsTheConfiguration(t *testing.T) {
	ctx, present := context.Background(), false
	d, log := fakeDriver(&present, false)
	pod := func(id string) network.Pod {
		p := network.Pod{ID: id}
		res, err := d.Setup(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		p.Previous = res
		return p
	}
	a := pod("a")
	present = true
	b := pod("b")
	present = false
	c := pod("c")
	if d.Name() != "cni" || d.Ready().Error() != "cni is not ready" {
		t.Errorf("%s is used while the configuration is away", d.Name())
	}
	for _, p := range []network.Pod{a, b, c, {ID: "cut off"}} {
		if err := d.Teardown(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"bridge setup a", "cni setup b", "cni setup c",
		"bridge teardown a", "cni teardown b", "cni teardown c", "bridge teardown cut off", "cni teardown cut off",
	}
	if diff := cmp.Diff(want, *log); diff != "" {
		t.Error(diff)
	}
}

// TestRestart: pods of both drivers are known; one of CNI's keeps the choice with CNI.
func TestRestart(t *testing.T) {
	ctx, present := context.Background(), false
	d, log := fakeDriver(&present, false)
	err := d.Recover(ctx, []network.Pod{
		{ID: "a", Previous: &network.Result{}}, {ID: "b", Previous: &network.Result{Raw: []byte("{}")}}, {ID: "c"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"bridge recover a", "cni recover b"}, *log); diff != "" {
		t.Error(diff)
	}
	if d.Name() != "cni" {
		t.Errorf("%s is used although a pod has CNI", d.Name())
	}
	off, log := fakeDriver(&present, true)
	if err := off.Recover(ctx, []network.Pod{{ID: "b", Previous: &network.Result{Raw: []byte("{}")}}}); err != nil {
		t.Fatal(err)
	}
	if off.Name() != "bridge" || !slices.Contains(*log, "cni recover b") {
		t.Errorf("turned off: %s, %v", off.Name(), *log)
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	l := layout.New(filepath.Join(dir, "root"), filepath.Join(dir, "state"))
	for conf, want := range map[string]string{None: "bridge", filepath.Join(dir, "empty"): "bridge"} {
		d, err := New(Options{Layout: l, CNIDir: conf})
		if err != nil {
			t.Fatal(err)
		}
		if d.Name() != want || d.Ready() != nil {
			t.Errorf("%s: %s, %v; want %s", conf, d.Name(), d.Ready(), want)
		}
		if err := d.Close(false); err != nil {
			t.Error(err)
		}
	}
}
