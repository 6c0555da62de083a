package networktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix" // socket options
)

// Serve listens in the namespace (nil: the node) and tells each client the address it
// comes from. It ends with the test. It returns the port.
func Serve(t testing.TB, n *Namespace, proto string, addr netip.AddrPort) uint16 {
	t.Helper()
	if proto == "udp" {
		return serveUDP(t, n, addr)
	}
	var l net.Listener
	err := n.Do(func() error {
		return whenAddressed(func() (err error) {
			lc := net.ListenConfig{}
			lc.SetMultipathTCP(false)
			l, err = lc.Listen(context.Background(), "tcp", addr.String())
			return err
		})
	})
	if err != nil {
		t.Fatalf("listen on %s: %v", addr, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(c, host(c.RemoteAddr()))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// whenAddressed repeats f while the address is not there: IPv6 addresses that a CNI
// plugin adds go through duplicate detection, which takes two seconds.
func whenAddressed(f func() error) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := f()
		if !errors.Is(err, unix.EADDRNOTAVAIL) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond) // polling the kernel: the socket has no event for it
	}
}

func serveUDP(t testing.TB, n *Namespace, addr netip.AddrPort) uint16 {
	t.Helper()
	var c *net.UDPConn
	err := n.Do(func() error {
		return whenAddressed(func() (err error) {
			c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
			return err
		})
	})
	if err != nil {
		t.Fatalf("listen on %s: %v", addr, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(host(from)), from)
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	return uint16(c.LocalAddr().(*net.UDPAddr).Port)
}

func host(a net.Addr) string {
	h, _, _ := net.SplitHostPort(a.String())
	return h
}

// Ask connects from the namespace and returns the client's address as the server saw it.
// A new link may swallow the first packets until its carrier is told about, and a SYN is
// repeated after a second only, so short attempts are repeated for five seconds.
func Ask(n *Namespace, proto string, to netip.AddrPort) (netip.Addr, error) {
	deadline := time.Now().Add(5 * time.Second)
	for {
		a, err := AskOnce(n, proto, to, 250*time.Millisecond)
		if err == nil || time.Now().After(deadline) {
			return a, err
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			return a, err
		}
	}
}

// AskOnce is one attempt.
func AskOnce(n *Namespace, proto string, to netip.AddrPort, timeout time.Duration) (netip.Addr, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{Timeout: timeout}
		d.SetMultipathTCP(false)
		c, err = d.Dial(proto, to.String())
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(timeout))
	buf := make([]byte, 64)
	if proto == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return netip.Addr{}, err
		}
	}
	read, err := c.Read(buf)
	if err != nil && !(errors.Is(err, io.EOF) && read > 0) {
		return netip.Addr{}, fmt.Errorf("read from %s: %w", to, err)
	}
	return netip.ParseAddr(string(buf[:read]))
}
