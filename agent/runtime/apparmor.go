package runtime

import (
	"bufio"
	"bytes"
	"os"
)

// appArmorProfiles lists what the kernel has loaded, one "NAME (MODE)" a line (apparmor(7)).
const appArmorProfiles = "/sys/kernel/security/apparmor/profiles"

// AppArmorLoaded says whether the kernel has the profile. An error where its list cannot be
// read: an answer without it would be a guess.
func AppArmorLoaded(name string) (bool, error) {
	data, err := os.ReadFile(appArmorProfiles)
	if err != nil {
		return false, err
	}
	return hasProfile(data, name), nil
}

// hasProfile: a profile's name may itself hold spaces and parentheses; its mode is the last word.
func hasProfile(list []byte, name string) bool {
	lines := bufio.NewScanner(bytes.NewReader(list))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if i := bytes.LastIndex(line, []byte(" (")); i >= 0 && string(line[:i]) == name {
			return true
		}
	}
	return false
}
