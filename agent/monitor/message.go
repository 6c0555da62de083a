package monitor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/wire"
)

// First value of a packet.
const (
	msgHello = iota + 1
	msgWelcome
	msgRequest
	msgResponse
	msgExited
)

type op uint64

const (
	opLaunch op = iota + 1
	opRelease
	opStart
	opSignal
	opResize
	opAttach
	opReopenLog
	opForget
	opList
	opShutdown
)

// Status of a response; what is not in the list travels as text.
const (
	statusOK = iota
	statusLaunchError
	statusText
	statusKinds // the n-th of errorKinds is statusKinds+n
)

var errorKinds = []error{
	lifecycle.ErrNotFound, lifecycle.ErrExists, lifecycle.ErrState, lifecycle.ErrInvalid,
	lifecycle.ErrUnsupported, lifecycle.ErrUnavailable, lifecycle.ErrTimeout, lifecycle.ErrExhausted,
}

// remoteError is an error of the monitor's side: its text, and the kind it wrapped.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func encodeError(w *wire.Writer, err error) {
	var le *LaunchError
	switch {
	case err == nil:
		w.Uint(statusOK)
		return
	case errors.As(err, &le):
		w.Uint(statusLaunchError)
		w.String(le.Step)
		w.String(le.Path)
		w.String(le.Message)
		w.Int(int64(le.Errno))
		return
	}
	status := uint64(statusText)
	for i, kind := range errorKinds {
		if errors.Is(err, kind) {
			status = statusKinds + uint64(i)
			break
		}
	}
	w.Uint(status)
	w.String(err.Error())
}

// decodeError gives the error that the other side encoded, nil for statusOK; a packet
// that ends early shows in r.Err.
func decodeError(r *wire.Reader) error {
	switch status := r.Uint(); {
	case status == statusOK:
		return nil
	case status == statusLaunchError:
		return &LaunchError{Step: r.String(), Path: r.String(), Message: r.String(), Errno: int(r.Int())}
	case status >= statusKinds && status < statusKinds+uint64(len(errorKinds)):
		return &remoteError{text: r.String(), kind: errorKinds[status-statusKinds]}
	default:
		return &remoteError{text: r.String()}
	}
}

// Times travel as nanoseconds since 1970, 0 for the zero time.
func encodeTime(w *wire.Writer, t time.Time) {
	if t.IsZero() {
		w.Int(0)
		return
	}
	w.Int(t.UnixNano())
}

func decodeTime(r *wire.Reader) time.Time {
	n := r.Int()
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// files lists the request's descriptors in the order in which they travel.
func (q *LaunchRequest) files() []**os.File {
	return []**os.File{&q.Config, &q.Cgroup, &q.PIDNS, &q.Stdio[0], &q.Stdio[1], &q.Stdio[2]}
}

// encode appends the request; the descriptors that are there follow beside the packet.
func (q *LaunchRequest) encode(w *wire.Writer) (fds []int) {
	w.String(q.ID)
	w.Uint(uint64(q.Kind))
	w.String(q.Target)
	w.Uint(q.CloneFlags)
	var present uint64
	for i, f := range q.files() {
		if *f != nil {
			present |= 1 << i
			fds = append(fds, int((*f).Fd()))
		}
	}
	w.Uint(present)
	w.Bool(q.Terminal)
	w.Bool(q.Stdin)
	w.Bool(q.StdinOnce)
	w.String(q.LogPath)
	w.String(q.OOMFile)
	return append(fds, q.encodeUser(w)...)
}

// encodeUser appends what user namespaces need, nothing for a launch without one.
func (q *LaunchRequest) encodeUser(w *wire.Writer) (fds []int) {
	if q.UIDMap == nil && q.User == nil && !q.TargetUser {
		return nil
	}
	for _, list := range [][]syscall.SysProcIDMap{q.UIDMap, q.GIDMap} {
		w.Uint(uint64(len(list)))
		for _, m := range list {
			w.Uint(uint64(m.ContainerID))
			w.Uint(uint64(m.HostID))
			w.Uint(uint64(m.Size))
		}
	}
	w.Bool(q.TargetUser)
	w.Strings(q.Tasks)
	w.Bool(q.User != nil)
	if q.User != nil {
		fds = append(fds, int(q.User.Fd()))
	}
	for _, list := range [][]*os.File{q.Joins, q.Extra} {
		w.Uint(uint64(len(list)))
		for _, f := range list {
			fds = append(fds, int(f.Fd()))
		}
	}
	return fds
}

// decodeUser takes the descriptors over that it finds in the packet, and returns the rest.
func (q *LaunchRequest) decodeUser(r *wire.Reader, fds []int) []int {
	if r.Err() != nil || r.Len() == 0 {
		return fds
	}
	take := func() *os.File {
		if len(fds) == 0 {
			return nil
		}
		f := os.NewFile(uintptr(fds[0]), "launch")
		fds = fds[1:]
		return f
	}
	for _, list := range []*[]syscall.SysProcIDMap{&q.UIDMap, &q.GIDMap} {
		for range r.Count(3) {
			*list = append(*list, syscall.SysProcIDMap{ContainerID: int(r.Uint()), HostID: int(r.Uint()), Size: int(r.Uint())})
		}
	}
	q.TargetUser = r.Bool()
	q.Tasks = r.Strings()
	if r.Bool() {
		q.User = take()
	}
	for _, list := range []*[]*os.File{&q.Joins, &q.Extra} {
		for range min(r.Uint(), maxFDs) {
			if f := take(); f != nil {
				*list = append(*list, f)
			}
		}
	}
	return fds
}

// decode takes fds over, also on error.
func (q *LaunchRequest) decode(r *wire.Reader, fds []int) error {
	q.ID = r.String()
	q.Kind = Kind(r.Uint())
	q.Target = r.String()
	q.CloneFlags = r.Uint()
	present := r.Uint()
	for i, f := range q.files() {
		if present&(1<<i) == 0 || len(fds) == 0 {
			continue
		}
		present &^= 1 << i
		*f = os.NewFile(uintptr(fds[0]), "launch")
		fds = fds[1:]
	}
	q.Terminal = r.Bool()
	q.Stdin = r.Bool()
	q.StdinOnce = r.Bool()
	q.LogPath = r.String()
	q.OOMFile = r.String()
	fds = q.decodeUser(r, fds)
	err := r.Err()
	if err == nil && (present != 0 || len(fds) > 0) {
		err = fmt.Errorf("launch %q: descriptors do not match the request: %w", q.ID, lifecycle.ErrInvalid)
	}
	closeFDs(fds)
	if err != nil {
		q.close()
	}
	return err
}

// close closes the request's descriptors.
func (q *LaunchRequest) close() {
	for _, f := range q.files() {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
	for _, f := range append(append([]*os.File{q.User}, q.Joins...), q.Extra...) {
		if f != nil {
			f.Close()
		}
	}
	q.User, q.Joins, q.Extra = nil, nil, nil
}

func (e *Exit) encode(w *wire.Writer) {
	w.String(e.ID)
	w.Int(int64(e.Code))
	w.Int(int64(e.Signal))
	w.Bool(e.OOMKilled)
	encodeTime(w, e.StartedAt)
	encodeTime(w, e.FinishedAt)
}

func decodeExit(r *wire.Reader) Exit {
	return Exit{
		ID: r.String(), Code: int(r.Int()), Signal: int(r.Int()), OOMKilled: r.Bool(),
		StartedAt: decodeTime(r), FinishedAt: decodeTime(r),
	}
}

func (p *Process) encode(w *wire.Writer) {
	w.String(p.ID)
	w.Uint(uint64(p.Kind))
	w.Uint(uint64(p.State))
	w.Uint(uint64(p.Pid))
	encodeTime(w, p.StartedAt)
	w.Bool(p.Exit != nil)
	if p.Exit != nil {
		p.Exit.encode(w)
	}
}

func decodeProcess(r *wire.Reader) Process {
	p := Process{
		ID: r.String(), Kind: Kind(r.Uint()), State: State(r.Uint()), Pid: int(r.Uint()),
		StartedAt: decodeTime(r),
	}
	if r.Bool() {
		e := decodeExit(r)
		p.Exit = &e
	}
	return p
}
