package monitor

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/container"
)

// userEnds are the descriptors that were opened for a launch in a user namespace.
type userEnds []int

func (u *userEnds) close() { closeFDs(*u) }

func (u *userEnds) path(name string, flags int) (int, error) {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	*u = append(*u, fd)
	return fd, nil
}

// open prepares what the launch enters; target is the pid of an exec's container, which
// still runs or the launch fails when it joins the rest through its pidfd.
func (u *userEnds) open(q *LaunchRequest, target int) (*container.User, error) {
	x := &container.User{}
	for _, f := range q.Joins {
		x.Joins = append(x.Joins, int(f.Fd()))
	}
	for _, tasks := range q.Tasks {
		fd, err := u.path(tasks, unix.O_WRONLY)
		if err != nil {
			return nil, err
		}
		x.Tasks = append(x.Tasks, fd)
	}
	if q.User != nil {
		x.NS = int(q.User.Fd())
		return x, nil
	}
	var err error
	x.NS, err = u.path("/proc/"+strconv.Itoa(target)+"/ns/user", unix.O_RDONLY)
	return x, err
}
