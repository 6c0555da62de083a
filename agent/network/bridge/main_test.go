package bridge

import (
	"io"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/slipway-cri/slipway/agent/layout"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/networktest"
)

func TestMain(m *testing.M) { networktest.Main(m) }

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// testLayout has a tag, so the default agent's names are never touched.
var testLayout = layout.New("/var/lib/slipway-bridge-test", "/run/slipway-bridge-test")

func open(t testing.TB, _ string) network.Network {
	t.Helper()
	o := FromLayout(testLayout)
	o.Log = quiet()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContract(t *testing.T) {
	networktest.Contract(t, networktest.Subject{
		Name: testLayout.Tag,
		Open: open,
		Purge: func(t testing.TB, n network.Network) {
			if err := n.Close(true); err != nil {
				t.Error("Close:", err)
			}
		},
		IPv6: true, Ports: true, NamesHolder: true, Parallel: 50,
	})
}
