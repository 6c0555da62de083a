package runtime

import "github.com/slipway-cri/slipway/oci/cgroups"

// Detail is one reading of everything that the kernel counts of a cgroup. It is plain data of thirty
// fields, of which the agent changes none, so it has no second form here as Usage has.
type Detail = cgroups.Detail

// Detail reads all of a cgroup once; with processes it looks at each of those too, which costs the more
// the more files they have open. lifecycle.ErrNotFound where there is none.
func (r *Runtime) Detail(cgroupPath string, processes bool) (*Detail, error) {
	cg, err := cgroups.Open(cgroupPath)
	if err != nil {
		return nil, err
	}
	d, err := cg.Detail(processes)
	if err != nil {
		return nil, cgroupError(cgroupPath, err)
	}
	return d, nil
}

// Parts of a Detail.
type (
	DeviceIO  = cgroups.DeviceIO
	HugePages = cgroups.HugePages
	Pressure  = cgroups.Pressure
)
