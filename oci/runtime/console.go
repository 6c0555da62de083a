package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/spec"
)

// console is the socket that a terminal's master is sent to; the zero console is none.
type console struct{ conn *net.UnixConn }

func checkTerminal(terminal bool, socket string) error {
	switch {
	case terminal && socket == "":
		return fmt.Errorf("process.terminal: needs a console socket: %w", spec.ErrInvalid)
	case !terminal && socket != "":
		return fmt.Errorf("console socket: process.terminal is not set: %w", spec.ErrInvalid)
	}
	return nil
}

func dialConsole(path string) (console, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	return console{conn}, err
}

// send gives master away as one message: its name as data and the descriptor beside it.
func (c *console) send(master *os.File) error {
	if c.conn == nil {
		return errors.New("console: no socket to send the terminal to")
	}
	_, _, err := c.conn.WriteMsgUnix([]byte(master.Name()), unix.UnixRights(int(master.Fd())), nil)
	return err
}

func (c *console) close() {
	if c.conn != nil {
		c.conn.Close()
	}
}
