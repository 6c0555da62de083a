package convert

import (
	"strconv"
	"strings"

	"github.com/distribution/reference"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/images"
)

// Image is an image as ListImages and ImageStatus show it.
func Image(i *images.Image) *runtimeapi.Image {
	uid, name := imageUser(i.Config.Config.User)
	return &runtimeapi.Image{
		Id:          i.ID,
		RepoTags:    i.RepoTags,
		RepoDigests: i.RepoDigests,
		Size:        uint64(max(i.Size, 0)),
		Uid:         uid,
		Username:    name,
		Pinned:      i.Pinned,
	}
}

// imageUser splits an image's USER ("", "uid", "name", either with ":group"). kubelet
// judges runAsNonRoot by the uid, so digits that are no uid must not look like root: they
// stay a name, which kubelet refuses there.
func imageUser(user string) (*runtimeapi.Int64Value, string) {
	name, _, _ := strings.Cut(user, ":")
	if name == "" {
		return nil, ""
	}
	if uid, err := strconv.ParseUint(name, 10, 32); err == nil {
		return &runtimeapi.Int64Value{Value: int64(uid)}, ""
	}
	return nil, name
}

// ImageFilter tells whether an image matches a ListImages filter that did not resolve to
// one image: a name without tag or digest stands for the whole repository.
func ImageFilter(ref string) func(*images.Image) bool {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil || !reference.IsNameOnly(named) {
		return func(*images.Image) bool { return false }
	}
	tag, digest := named.Name()+":", named.Name()+"@"
	return func(i *images.Image) bool {
		for _, t := range i.RepoTags {
			if strings.HasPrefix(t, tag) {
				return true
			}
		}
		for _, d := range i.RepoDigests {
			if strings.HasPrefix(d, digest) {
				return true
			}
		}
		return false
	}
}

// ImageFsUsage is the image store's use of its file system.
func ImageFsUsage(i images.FSInfo) *runtimeapi.FilesystemUsage {
	return &runtimeapi.FilesystemUsage{
		Timestamp:  nanos(i.At),
		FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: i.Mountpoint},
		UsedBytes:  value(i.UsedBytes),
		InodesUsed: value(i.Inodes),
	}
}

// Auth is the call's registry credentials; nil when the call has none.
func Auth(a *runtimeapi.AuthConfig) *images.Auth {
	if a == nil {
		return nil
	}
	auth := images.Auth{
		Username:      a.GetUsername(),
		Password:      a.GetPassword(),
		Auth:          a.GetAuth(),
		ServerAddress: a.GetServerAddress(),
		IdentityToken: a.GetIdentityToken(),
		RegistryToken: a.GetRegistryToken(),
	}
	if auth == (images.Auth{}) {
		return nil
	}
	return &auth
}

// isImageID tells an id ("sha256:" and 64 hex digits, or the digits alone) from a name.
func isImageID(s string) bool {
	s = strings.TrimPrefix(s, "sha256:")
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// sameReference compares a normalised name with one as a person wrote it.
func sameReference(normal, written string) bool {
	if normal == written {
		return true
	}
	named, err := reference.ParseNormalizedNamed(written)
	return err == nil && reference.TagNameOnly(named).String() == normal
}
