package runtime

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

func TestHasProfile(t *testing.T) {
	list := []byte("docker-default (enforce)\n/usr/bin/man (complain)\nodd (name) (enforce)\nunder (unconfined)\n")
	for name, want := range map[string]bool{
		"docker-default": true, "/usr/bin/man": true, "odd (name)": true, "under": true,
		"docker": false, "odd": false, "": false, "docker-default (enforce)": false,
	} {
		if got := hasProfile(list, name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if _, err := os.Stat(appArmorProfiles); err != nil {
		if _, err := AppArmorLoaded("x"); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("without the kernel's list: %v", err)
		}
		return
	}
	if loaded, err := AppArmorLoaded("no such profile"); loaded || err != nil {
		t.Errorf("%v %v", loaded, err)
	}
}
