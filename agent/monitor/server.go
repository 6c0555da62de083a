package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// server is the monitor: its entries, its one agent and its children. mu protects the
// maps and what is said of it elsewhere, is held for no system call that waits, and is
// taken after entry.mu, never before.
type server struct {
	loop    *loop
	init    *os.File // sealed memfd
	exitDir string
	pidns   unix.Stat_t
	// oomScore is what children get where the monitor has lowered its own, which they
	// would inherit; "" where it has not.
	oomScore string
	// holdLimit is how long an attachment that takes nothing may hold its container
	// back; then it is cut off.
	holdLimit time.Duration

	mu      sync.Mutex
	entries map[string]*entry
	reaper  reaper
	agent   *agentConn
	closing bool
	over    chan struct{} // closed when the monitor is to end
}

func newServer(exitDir string, init *os.File, maxLine int) (*server, error) {
	l, err := newLoop(maxLine)
	if err != nil {
		return nil, err
	}
	s := &server{
		loop: l, init: init, exitDir: exitDir, entries: map[string]*entry{}, over: make(chan struct{}),
		holdLimit: 10 * time.Second,
		reaper:    reaper{byPid: map[int]*entry{}, launches: map[uint64]struct{}{}},
	}
	if err := unix.Stat("/proc/self/ns/pid", &s.pidns); err != nil {
		l.close()
		return nil, &os.PathError{Op: "stat", Path: "/proc/self/ns/pid", Err: err}
	}
	return s, nil
}

func (s *server) insert(e *entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return fmt.Errorf("the monitor is shutting down: %w", lifecycle.ErrUnavailable)
	}
	if s.entries[e.id] != nil {
		return fmt.Errorf("process %s: %w", e.id, lifecycle.ErrExists)
	}
	s.entries[e.id] = e
	return nil
}

func (s *server) remove(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.id] == e {
		delete(s.entries, e.id)
	}
}

// lookup gives an entry whose launch has succeeded; one whose launch is under way is
// waited for.
func (s *server) lookup(id string) (*entry, error) {
	s.mu.Lock()
	e := s.entries[id]
	s.mu.Unlock()
	if e != nil {
		<-e.settled
		e.mu.Lock()
		failed := e.failed
		e.mu.Unlock()
		if !failed {
			return e, nil
		}
	}
	return nil, fmt.Errorf("process %s: %w", id, lifecycle.ErrNotFound)
}

// list gives entries in the order of ids, after one.
func (s *server) list(after string) []*entry {
	s.mu.Lock()
	var all []*entry
	for id, e := range s.entries {
		if id > after {
			all = append(all, e)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *entry) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return slices.DeleteFunc(all, func(e *entry) bool {
		select {
		case <-e.settled:
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.failed
		default:
			return true // its launch answers for it
		}
	})
}

// tell sends an exit to the agent, if there is one; the next one learns it by List.
func (s *server) tell(exit *Exit) {
	s.mu.Lock()
	agent := s.agent
	s.mu.Unlock()
	if agent != nil {
		agent.exited(exit)
	}
}

// forget drops an exited entry and its record; nil if there is none.
func (s *server) forget(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	e, err := s.lookup(id)
	if err == nil {
		select {
		case <-e.done:
		default:
			return fmt.Errorf("forget %s, which has not exited: %w", id, lifecycle.ErrState)
		}
		e.abandon()
		s.remove(e)
	}
	if err := os.Remove(filepath.Join(s.exitDir, id)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// shutdown refuses while processes live, or kills them; then the monitor takes no more launches.
func (s *server) shutdown(force bool) error {
	s.mu.Lock()
	var live []*entry
	for _, e := range s.entries {
		select {
		case <-e.done:
		default:
			live = append(live, e)
		}
	}
	if len(live) > 0 && !force {
		s.mu.Unlock()
		return fmt.Errorf("the monitor has %d processes: %w", len(live), lifecycle.ErrState)
	}
	s.closing = true
	s.mu.Unlock()
	for _, e := range live {
		<-e.settled
		_ = e.signal(unix.SIGKILL)
	}
	for _, e := range live {
		<-e.done
	}
	return nil
}

func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.over:
	default:
		close(s.over)
	}
}
