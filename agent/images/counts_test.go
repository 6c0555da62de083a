package images

import (
	"testing"

	"github.com/slipway-cri/slipway/agent/images/imagetest"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// TestPullsAreCounted: by their end, and with the bytes that were fetched; what is there already is not fetched.
func TestPullsAreCounted(t *testing.T) {
	kerneltest.NeedRoot(t)
	reg := imagetest.StartRegistry(t)
	l := open(t, t.TempDir())
	push(t, twoLayers(), reg, "test/counted", "v1")
	if _, err := l.Pull(t.Context(), reg+"/test/counted:v1", nil, nil); err != nil {
		t.Fatal(err)
	}
	first := l.Pulls()
	if first.Done != 1 || first.Failed != 0 || first.Bytes == 0 {
		t.Errorf("after a pull: %+v", first)
	}
	if _, err := l.Pull(t.Context(), reg+"/test/counted:v1", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Pull(t.Context(), reg+"/test/missing:v1", nil, nil); err == nil {
		t.Error("an image that is not there was pulled")
	}
	if got, want := l.Pulls(), (Pulls{Done: 2, Failed: 1, Bytes: first.Bytes}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
