package ocispec

import (
	"bytes"
	"iter"
	"strings"
)

// Limits on the image's /etc/passwd and /etc/group, which are untrusted (CVE-2026-47262).
const (
	maxFile = 8 << 20
	maxLine = 256 << 10
)

type userEntry struct {
	name     string // "" for an id that passwd does not know
	uid, gid uint32
	home     string
}

// lookupUser finds who in passwd(5). An id without an entry is that id with group 0 and home "/".
func lookupUser(passwd []byte, who identity) (userEntry, error) {
	const file = "image /etc/passwd"
	if err := checkFile(file, passwd); err != nil {
		return userEntry{}, err
	}
	for line := range lines(passwd) {
		f := strings.Split(line, ":")
		if len(f) < 4 || f[0] == "" {
			continue
		}
		uid, err := parseID(f[2])
		if who.isID && (err != nil || uid != who.id) || !who.isID && f[0] != who.name {
			continue
		}
		if err != nil {
			return userEntry{}, invalid(file, "user %q has the uid %q", f[0], f[2])
		}
		gid, err := parseID(f[3])
		if err != nil {
			return userEntry{}, invalid(file, "user %q has the gid %q", f[0], f[3])
		}
		u := userEntry{name: f[0], uid: uid, gid: gid, home: "/"}
		if len(f) > 5 && f[5] != "" {
			u.home = f[5]
		}
		return u, nil
	}
	if who.isID {
		return userEntry{uid: who.id, home: "/"}, nil
	}
	return userEntry{}, invalid(who.field, "user %q is not in the image's /etc/passwd", who.name)
}

// lookupGroup finds a group's id in group(5); a number needs no entry.
func lookupGroup(group []byte, which identity) (uint32, error) {
	const file = "image /etc/group"
	if which.isID {
		return which.id, nil
	}
	if err := checkFile(file, group); err != nil {
		return 0, err
	}
	for line := range lines(group) {
		f := strings.SplitN(line, ":", 4)
		if len(f) < 3 || f[0] != which.name {
			continue
		}
		gid, err := parseID(f[2])
		if err != nil {
			return 0, invalid(file, "group %q has the gid %q", f[0], f[2])
		}
		return gid, nil
	}
	return 0, invalid(which.field, "group %q is not in the image's /etc/group", which.name)
}

// groupsOf lists the groups that have user as a member. A line whose gid is no number
// is passed over, as by the C library.
func groupsOf(group []byte, user string) ([]uint32, error) {
	const file = "image /etc/group"
	if user == "" {
		return nil, nil
	}
	if err := checkFile(file, group); err != nil {
		return nil, err
	}
	var gids []uint32
	for line := range lines(group) {
		f := strings.SplitN(line, ":", 4)
		if len(f) < 4 {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if strings.TrimSpace(member) != user {
				continue
			}
			if gid, err := parseID(f[2]); err == nil {
				gids = append(gids, gid)
			}
			break
		}
	}
	return gids, nil
}

func checkFile(name string, data []byte) error {
	if len(data) > maxFile {
		return invalid(name, "%d bytes, at most %d are read", len(data), maxFile)
	}
	for rest := data; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte{'\n'})
		if len(line) > maxLine {
			return invalid(name, "a line of %d bytes, at most %d are read", len(line), maxLine)
		}
		rest = after
	}
	return nil
}

// lines yields the lines that are neither empty nor comments.
func lines(data []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range bytes.SplitSeq(data, []byte{'\n'}) {
			line = bytes.TrimSpace(line)
			if len(line) > 0 && line[0] != '#' && !yield(string(line)) {
				return
			}
		}
	}
}
