package containers

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/slipway-cri/slipway/agent/images"
)

// userFileLimit bounds an image's passwd and group files, in bytes (CVE-2026-47262); the
// field's largest are a few hundred KiB.
const userFileLimit = 4 << 20

// userFilesKept bounds the cache; images that containers start from are few.
const userFilesKept = 64

// userFiles caches the passwd and group files of images, whose content never changes, so that
// a container start reads none.
type userFiles struct {
	images images.Service
	mu     sync.Mutex
	byID   map[string]userFile
}

type userFile struct{ passwd, group []byte }

func (u *userFiles) of(imageID string) (userFile, error) {
	u.mu.Lock()
	f, ok := u.byID[imageID]
	u.mu.Unlock()
	if ok {
		return f, nil
	}
	var err error
	if f.passwd, err = u.read(imageID, "/etc/passwd"); err != nil {
		return f, err
	}
	if f.group, err = u.read(imageID, "/etc/group"); err != nil {
		return f, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID == nil || len(u.byID) >= userFilesKept {
		u.byID = map[string]userFile{}
	}
	u.byID[imageID] = f
	return f, nil
}

func (u *userFiles) read(imageID, path string) ([]byte, error) {
	data, err := u.images.ReadFile(imageID, path, userFileLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
