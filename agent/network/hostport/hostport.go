// Package hostport owns the agent's nftables table: masquerade of the pods' subnets, the
// guard of the node's loopback, and host ports, one map element each. It knows nothing of
// links. The table is of family inet and holds nothing that others put there; others'
// tables are never touched. Locking: Table.kernel is held for reading while elements
// change and for writing while the whole table is made; Table.mu guards the book and is
// never held over a system call.
//
// Not possible in Linux: a host port at [::1], since IPv6 has no route_localnet.
package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix" // errno values

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
)

// Config of a table.
type Config struct {
	Table   string // name
	Bridge  string // the pods' bridge; it need not exist yet
	Subnets []netip.Prefix
	// Masquerade gives pods' packets that leave the node the node's address. Packets that
	// come back to the bridge through a host port, and those from the node's loopback, get
	// the bridge's address whether it is set or not: their answers would be lost otherwise.
	Masquerade bool
	Log        *logrus.Entry
}

// Table is the agent's table. It is safe for concurrent use.
type Table struct {
	c      Config
	kernel sync.RWMutex
	mu     sync.Mutex
	book   *book
	idle   []*nftables.Conn
}

// Pod is a pod with host ports, for Reset; Refusal a pod whose ports are not set and why.
type Pod struct {
	ID    string
	Addrs []netip.Addr
	Ports []network.PortMapping
}
type Refusal struct {
	PodID string
	Err   error
}

// New makes nothing in the kernel.
func New(c Config) *Table {
	if c.Log == nil {
		c.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	return &Table{c: c, book: newBook()}
}

// Ensure makes the table if it is not there, with the elements of all pods.
func (t *Table) Ensure() error {
	conn, err := t.dial()
	if err != nil {
		return err
	}
	_, err = conn.ListTableOfFamily(t.c.Table, nftables.TableFamilyINet)
	t.release(conn, err)
	if err == nil {
		return nil
	}
	return t.rebuild()
}

// Add sends host ports to a pod: lifecycle.ErrExhausted names the pod that has one of
// them already, ErrInvalid says which mapping makes no sense. All are set, or none.
func (t *Table) Add(podID string, addrs []netip.Addr, ports []network.PortMapping) error {
	t.kernel.RLock()
	t.mu.Lock()
	entries, err := t.book.add(podID, addrs, ports)
	t.mu.Unlock()
	if err == nil && len(entries) > 0 {
		if err = t.change(entries, (*nftables.Conn).SetAddElements); err != nil {
			t.mu.Lock()
			t.book.remove(podID)
			t.mu.Unlock()
		}
	}
	t.kernel.RUnlock()
	if errors.Is(err, unix.ENOENT) {
		// The table went away under us: make it again with this pod's elements in it.
		t.mu.Lock()
		entries, err = t.book.add(podID, addrs, ports)
		t.mu.Unlock()
		if err == nil {
			err = t.rebuild()
		}
		if err != nil {
			t.mu.Lock()
			t.book.remove(podID)
			t.mu.Unlock()
		}
	}
	if err != nil {
		return err
	}
	t.forgetFlows(entries, stale)
	return nil
}

// Remove takes a pod's host ports away; none is no error.
func (t *Table) Remove(podID string) error {
	t.kernel.RLock()
	t.mu.Lock()
	entries := t.book.byPod[podID]
	t.mu.Unlock()
	if len(entries) == 0 {
		t.kernel.RUnlock()
		return nil
	}
	err := t.change(entries, (*nftables.Conn).SetDeleteElements)
	gone := errors.Is(err, unix.ENOENT)
	if err == nil || gone {
		t.mu.Lock()
		t.book.remove(podID)
		t.mu.Unlock()
	}
	t.kernel.RUnlock()
	if gone {
		// Table or element was removed by somebody else: what stays is made anew.
		err = t.rebuild()
	}
	if err != nil {
		return fmt.Errorf("remove host ports of pod %s: %w", podID, err)
	}
	t.forgetFlows(entries, translated)
	return nil
}

// Reset makes the table anew, in one transaction, with exactly these pods' ports.
func (t *Table) Reset(pods []Pod) ([]Refusal, error) {
	fresh := newBook()
	var refused []Refusal
	for _, p := range pods {
		if _, err := fresh.add(p.ID, p.Addrs, p.Ports); err != nil {
			refused = append(refused, Refusal{p.ID, err})
		}
	}
	t.mu.Lock()
	t.book = fresh
	t.mu.Unlock()
	return refused, t.rebuild()
}

// Has returns nil when the kernel has all of the pod's elements.
func (t *Table) Has(podID string) (err error) {
	t.mu.Lock()
	entries := t.book.byPod[podID]
	t.mu.Unlock()
	conn, err := t.dial()
	if err != nil {
		return err
	}
	defer func() { t.release(conn, err) }()
	sets := t.sets(t.table())
	there := map[string]map[string]string{}
	for _, e := range entries {
		s := sets.of(e)
		if there[s.Name] == nil {
			there[s.Name] = map[string]string{}
			elems, err := conn.GetSetElements(s)
			if err != nil {
				return fmt.Errorf("host port %s: read map %s: %w", e.name(), s.Name, err)
			}
			for _, el := range elems {
				there[s.Name][string(el.Key)] = string(el.Val)
			}
		}
		el := element(e)
		if there[s.Name][string(el.Key)] != string(el.Val) {
			return fmt.Errorf("host port %s: element of map %s: %w", e.name(), s.Name, lifecycle.ErrNotFound)
		}
	}
	return nil
}

// Delete removes the table; none is no error.
func (t *Table) Delete() error {
	t.kernel.Lock()
	defer t.kernel.Unlock()
	conn, err := t.dial()
	if err != nil {
		return err
	}
	table := t.table()
	conn.AddTable(table) // so that the deletion finds one
	conn.DelTable(table)
	err = conn.Flush()
	t.release(conn, err)
	if err != nil {
		return fmt.Errorf("delete nftables table %s: %w", t.c.Table, err)
	}
	t.mu.Lock()
	t.book = newBook()
	t.mu.Unlock()
	return nil
}

// Close closes the idle sockets; the table stays.
func (t *Table) Close() error {
	t.mu.Lock()
	idle := t.idle
	t.idle = nil
	t.mu.Unlock()
	var errs []error
	for _, c := range idle {
		errs = append(errs, c.CloseLasting())
	}
	return errors.Join(errs...)
}

// dial returns an open socket for one transaction at a time. Sockets are kept: closing
// one after a deletion takes 8 ms, with the namespace's nftables locked, since the kernel
// first waits for what is being destroyed (nft_rcv_nl_event).
func (t *Table) dial() (*nftables.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.idle); n > 0 {
		c := t.idle[n-1]
		t.idle = t.idle[:n-1]
		return c, nil
	}
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, nil
}

// release keeps a socket, unless its transaction went wrong: answers may be left in it.
func (t *Table) release(c *nftables.Conn, err error) {
	const kept = 4
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && len(t.idle) < kept {
		t.idle = append(t.idle, c)
		return
	}
	go func() { _ = c.CloseLasting() }()
}

// change adds or deletes elements in one transaction.
func (t *Table) change(entries []entry, how func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error) (err error) {
	conn, err := t.dial()
	if err != nil {
		return err
	}
	defer func() { t.release(conn, err) }()
	sets := t.sets(t.table())
	for set, elems := range sets.group(entries) {
		if err := how(conn, set, elems); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables table %s: %w", t.c.Table, err)
	}
	return nil
}

// rebuild replaces the whole table by one transaction; connections stay as they are.
func (t *Table) rebuild() (err error) {
	t.kernel.Lock()
	defer t.kernel.Unlock()
	t.mu.Lock()
	entries := t.book.all()
	t.mu.Unlock()
	conn, err := t.dial()
	if err != nil {
		return err
	}
	defer func() { t.release(conn, err) }()
	table := t.table()
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	sets := t.sets(table)
	elems := sets.group(entries)
	for _, s := range sets {
		if err := conn.AddSet(s, elems[s]); err != nil {
			return fmt.Errorf("map %s: %w", s.Name, err)
		}
	}
	t.addChains(conn, table, sets)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("make nftables table %s: %w", t.c.Table, err)
	}
	return nil
}
