package ocispec

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// IDMaps are a user namespace's mappings.
type IDMaps struct{ UIDs, GIDs []specs.LinuxIDMapping }

// Equal compares; nil is the node's user namespace.
func (m *IDMaps) Equal(o *IDMaps) bool {
	if m == nil || o == nil {
		return m == o
	}
	return slices.Equal(m.UIDs, o.UIDs) && slices.Equal(m.GIDs, o.GIDs)
}

// Root is the node's ids behind 0 inside.
func (m *IDMaps) Root() (uid, gid int) {
	at := func(list []specs.LinuxIDMapping) int {
		for _, r := range list {
			if r.ContainerID == 0 {
				return int(r.HostID)
			}
		}
		return 0
	}
	return at(m.UIDs), at(m.GIDs)
}

// UserMappings reads a request's userns_options (KEP-127): nil for the node's user namespace.
// Ids in a range of their own must be given, for 0 inside too, none twice. What the node's root
// stands behind is refused: that would be no isolation.
func UserMappings(o *runtimeapi.NamespaceOption) (*IDMaps, error) {
	const field = "linux.security_context.namespace_options.userns_options"
	u := o.GetUsernsOptions()
	switch {
	case u == nil, u.GetMode() == runtimeapi.NamespaceMode_NODE:
		return nil, nil
	case u.GetMode() != runtimeapi.NamespaceMode_POD:
		return nil, invalid(field+".mode", "%s", u.GetMode())
	}
	m := &IDMaps{}
	var err error
	if m.UIDs, err = idMappings(field+".uids", u.GetUids()); err != nil {
		return nil, err
	}
	m.GIDs, err = idMappings(field+".gids", u.GetGids())
	return m, err
}

// CheckUserNamespace refuses mappings that do not hold, and namespaces of the node's beside a user
// namespace of the pod's: the network's is the only one that may be (KEP-127).
func CheckUserNamespace(o *runtimeapi.NamespaceOption) error {
	const field = "linux.security_context.namespace_options."
	maps, err := UserMappings(o)
	switch {
	case err != nil || maps == nil:
		return err
	case o.GetPid() == runtimeapi.NamespaceMode_NODE:
		return invalid(field+"pid", "the node's, but the user namespace is the pod's")
	case o.GetIpc() == runtimeapi.NamespaceMode_NODE:
		return invalid(field+"ipc", "the node's, but the user namespace is the pod's")
	}
	return nil
}

func idMappings(field string, in []*runtimeapi.IDMapping) ([]specs.LinuxIDMapping, error) {
	out := make([]specs.LinuxIDMapping, len(in))
	root := false
	for i, r := range in {
		m := specs.LinuxIDMapping{ContainerID: r.GetContainerId(), HostID: r.GetHostId(), Size: r.GetLength()}
		switch {
		case m.Size == 0:
			return nil, invalid(field, "[%d]: length 0", i)
		case m.HostID == 0:
			return nil, invalid(field, "[%d]: host_id 0 is the node's root", i)
		case slices.ContainsFunc(out[:i], func(o specs.LinuxIDMapping) bool {
			return overlap(o.ContainerID, o.Size, m.ContainerID, m.Size) || overlap(o.HostID, o.Size, m.HostID, m.Size)
		}):
			return nil, invalid(field, "[%d]: overlaps an earlier range", i)
		}
		root = root || m.ContainerID == 0
		out[i] = m
	}
	if !root {
		return nil, invalid(field, "container_id 0 is not mapped")
	}
	return out, nil
}

func overlap(a, aSize, b, bSize uint32) bool {
	return uint64(a) < uint64(b)+uint64(bSize) && uint64(b) < uint64(a)+uint64(aSize)
}

// specMappings turns a mount's mappings.
func specMappings(in []*runtimeapi.IDMapping) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, r := range in {
		out = append(out, specs.LinuxIDMapping{ContainerID: r.GetContainerId(), HostID: r.GetHostId(), Size: r.GetLength()})
	}
	return out
}

// mountMappings passes a mount's mappings if they are the pod's, as a kubelet has them.
func (b *builder) mountMappings(field string, m *runtimeapi.Mount) (*IDMaps, error) {
	own := &IDMaps{UIDs: specMappings(m.GetUidMappings()), GIDs: specMappings(m.GetGidMappings())}
	switch {
	case len(own.UIDs) == 0 && len(own.GIDs) == 0:
		return &IDMaps{}, nil
	case b.maps == nil:
		return nil, invalid(field+".uidMappings", "the pod has no user namespace")
	case !own.Equal(b.maps):
		return nil, unsupported(field+".uidMappings", "id mappings other than the pod's")
	}
	return own, nil
}
