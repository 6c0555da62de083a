// Package images is the agent's image service: pull, load, save, list, remove, and
// what a container needs of an image. registry/ fetches, layers/ unpacks, store/ keeps.
// New makes the service. It does not know containers: their use of an image is a name.
package images

import (
	"context"
	"io"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an immutable snapshot of one image in the store.
type Image struct {
	ID          string   // digest of the image configuration, "sha256:…"
	RepoTags    []string // normalised: "docker.io/library/busybox:latest"
	RepoDigests []string // "docker.io/library/busybox@sha256:…"
	Size        int64    // bytes of the unpacked layers and the configuration
	Config      ocispec.Image
	Pinned      bool
	Created     time.Time // when it was committed to this store
}

// Auth is the call's registry credentials, as CRI's AuthConfig has them.
type Auth struct {
	Username, Password, Auth, ServerAddress, IdentityToken, RegistryToken string
}

// Progress is told of a pull's steps; nil is allowed wherever one is taken.
type Progress func(Step)

// Step is one state of one layer (or of the whole, Layer == "").
type Step struct {
	Layer   string // digest of the compressed layer
	Phase   string // "resolving", "downloading", "unpacking", "exists", "done"
	Current int64  // bytes of the compressed stream consumed
	Total   int64
}

// FSInfo is the use of the image store's file system.
type FSInfo struct {
	Mountpoint string
	UsedBytes  uint64
	Inodes     uint64
	At         time.Time
}

// Service is what the rest of the agent sees. All methods may be called concurrently.
// References are resolved as CRI's: full or short reference, id, unique id prefix, digest reference.
type Service interface {
	// Pull fetches ref and returns the image. Concurrent pulls of one reference are one pull;
	// a caller that leaves does not end it for the others.
	Pull(ctx context.Context, ref string, auth *Auth, p Progress) (*Image, error)
	// Get returns lifecycle.ErrNotFound for an unknown reference.
	Get(ref string) (*Image, error)
	List() []*Image
	// Remove takes one tag or digest away, or the whole image when ref is an id; an unknown one is no error.
	Remove(ctx context.Context, ref string) error
	FSInfo() (FSInfo, error)
	// Load reads a docker-save or OCI-layout tar (optionally gzip or zstd); Save writes an OCI
	// layout that docker load reads too.
	Load(ctx context.Context, r io.Reader) ([]*Image, error)
	Save(ctx context.Context, w io.Writer, refs ...string) error

	// Use marks the image's layers as used by user (a container id) until Release: removal
	// of the image leaves them. Uses are not persisted; recovery marks them again.
	Use(id, user string) (*Rootfs, error)
	Release(user string)
	// ReadFile reads a file of the image's merged root, links resolved inside it, at most limit bytes
	// (more is an error). fs.ErrNotExist when there is none.
	ReadFile(id, path string, limit int64) ([]byte, error)
}

// Rootfs is an image's layers as overlayfs wants them.
type Rootfs struct {
	Base  string   // directory in which the names of Lower are
	Lower []string // names, top-most first, short enough for 128 of them in one page of options
	Empty string   // the name of an empty directory there, for an overlay of fewer than two
}
