package ocispec

import (
	"math"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxGroups is the kernel's NGROUPS_MAX (setgroups(2)).
const maxGroups = 65536

// identity is a user as asked for: a number or a name, never both.
type identity struct {
	field string // for errors
	name  string
	id    uint32
	isID  bool
}

// user resolves the process's uid, gid and supplementary groups.
//
// A string of digits is a number and nothing else: it is neither looked up as a name nor, out of range,
// taken for root (CVE-2024-40635, CVE-2026-46680, CVE-2026-30892).
func (b *builder) user() error {
	who, group, err := b.requested()
	if err != nil {
		return err
	}
	entry, err := lookupUser(b.in.Passwd, who)
	if err != nil {
		return err
	}
	gid := entry.gid
	if group != nil {
		if gid, err = lookupGroup(b.in.Group, *group); err != nil {
			return err
		}
	}
	gids, err := b.groups(entry, gid)
	if err != nil {
		return err
	}
	if hasControl(entry.home) {
		return invalid("image /etc/passwd", "home of uid %d contains control bytes", entry.uid)
	}
	b.home = entry.home
	u := &b.spec.Process.User
	u.UID, u.GID, u.AdditionalGids = entry.uid, gid, gids

	status := &runtimeapi.LinuxContainerUser{Uid: int64(entry.uid), Gid: int64(gid)}
	for _, g := range gids {
		status.SupplementalGroups = append(status.SupplementalGroups, int64(g))
	}
	b.out.User = &runtimeapi.ContainerUser{Linux: status}
	return nil
}

// requested finds who is asked for: the request before the image's USER. group is nil where
// the user's own is meant.
func (b *builder) requested() (who identity, group *identity, err error) {
	const field = "linux.security_context."
	uid, name, gid := b.security.GetRunAsUser(), b.security.GetRunAsUsername(), b.security.GetRunAsGroup()
	switch {
	case uid != nil && name != "":
		return who, nil, invalid(field+"run_as_username", "run_as_user is set too")
	case uid != nil:
		who, err = fromInt(field+"run_as_user", uid.GetValue())
	case name != "":
		who, err = parseIdentity(field+"run_as_username", name)
		if err == nil && who.isID {
			err = invalid(field+"run_as_username", "%q is a number: use run_as_user", name)
		}
	case gid != nil:
		return who, nil, invalid(field+"run_as_group", "needs run_as_user or run_as_username")
	default:
		return fromImage(b.image.User)
	}
	if err == nil && gid != nil {
		var g identity
		g, err = fromInt(field+"run_as_group", gid.GetValue())
		group = &g
	}
	return who, group, err
}

// fromImage parses USER: "", "user", "uid", either followed by ":group" or ":gid".
func fromImage(user string) (who identity, group *identity, err error) {
	const field = "image USER"
	if user == "" {
		return identity{field: field, isID: true}, nil, nil
	}
	u, g, hasGroup := strings.Cut(user, ":")
	if who, err = parseIdentity(field, u); err != nil || !hasGroup {
		return who, nil, err
	}
	id, err := parseIdentity(field, g)
	return who, &id, err
}

func fromInt(field string, v int64) (identity, error) {
	if v < 0 || v > math.MaxInt32 {
		return identity{}, invalid(field, "%d is not in 0 to %d", v, math.MaxInt32)
	}
	return identity{field: field, id: uint32(v), isID: true}, nil
}

func parseIdentity(field, s string) (identity, error) {
	switch {
	case s == "":
		return identity{}, invalid(field, "empty user or group")
	case isDigits(s):
		id, err := parseID(s)
		if err != nil {
			return identity{}, invalid(field, "%q is not in 0 to %d", s, math.MaxInt32)
		}
		return identity{field: field, id: id, isID: true}, nil
	// A sign makes no name, and a number with a sign no id.
	case strings.ContainsAny(s[:1], "+-"), strings.ContainsAny(s, ":, /\\"), hasControl(s):
		return identity{}, invalid(field, "%q is neither an id nor a name", s)
	}
	return identity{field: field, name: s}, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// parseID takes decimal digits in 0 to 2³¹-1 only.
func parseID(s string) (uint32, error) {
	if !isDigits(s) {
		return 0, strconv.ErrSyntax
	}
	v, err := strconv.ParseUint(s, 10, 31)
	return uint32(v), err
}

// groups are the process's supplementary groups: the primary first (status reports it there,
// and `id -G` prints it), those that the image gives the user unless the policy is Strict, the request's.
func (b *builder) groups(u userEntry, gid uint32) ([]uint32, error) {
	gids, seen := []uint32{gid}, map[uint32]bool{gid: true}
	add := func(g uint32) {
		if !seen[g] {
			seen[g] = true
			gids = append(gids, g)
		}
	}
	switch p := b.security.GetSupplementalGroupsPolicy(); p {
	case runtimeapi.SupplementalGroupsPolicy_Strict:
	case runtimeapi.SupplementalGroupsPolicy_Merge:
		ofUser, err := groupsOf(b.in.Group, u.name)
		if err != nil {
			return nil, err
		}
		for _, g := range ofUser {
			add(g)
		}
	default:
		return nil, invalid("linux.security_context.supplemental_groups_policy", "unknown policy %d", p)
	}
	const field = "linux.security_context.supplemental_groups"
	for _, g := range b.security.GetSupplementalGroups() {
		id, err := fromInt(field, g)
		if err != nil {
			return nil, err
		}
		add(id.id)
	}
	if len(gids) > maxGroups {
		return nil, invalid(field, "%d groups, the kernel takes %d", len(gids), maxGroups)
	}
	return gids, nil
}
