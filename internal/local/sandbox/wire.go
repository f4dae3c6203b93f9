package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The mesh and a sandbox's init speak JSON messages over a pair of sequenced
// sockets; descriptors travel with them.

// request is a message to the sandbox.
type request struct {
	Setup  *Spec    `json:"setup,omitempty"`  // the first message
	Start  *Command `json:"start,omitempty"`  // with three descriptors
	Signal int      `json:"signal,omitempty"` // to the process ID
	ID     int      `json:"id,omitempty"`     // of the command; chosen by the mesh, mainID is the workload itself
}

// mainID is the command whose end ends the sandbox.
const mainID = 1

// event is a message from the sandbox.
type event struct {
	Ready bool   `json:"ready,omitempty"`
	ID    int    `json:"id,omitempty"`
	Error string `json:"error,omitempty"` // of the set-up, or of starting ID
	Exit  *Exit  `json:"exit,omitempty"`
}

// maxMessage bounds a message: arguments and environment of one command.
const maxMessage = 192 << 10

// link is one end.
type link struct{ conn *net.UnixConn }

// newLink takes over a descriptor.
func newLink(fd int) (link, error) {
	f := os.NewFile(uintptr(fd), "sandbox")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return link{}, fmt.Errorf("the sandbox's socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return link{}, errors.Join(errors.New("the sandbox's socket is of another kind"), c.Close())
	}
	return link{u}, nil
}

func (l link) send(v any, files ...*os.File) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) > maxMessage {
		return fmt.Errorf("command and environment are %d bytes long, at most %d fit", len(text), maxMessage)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = l.conn.WriteMsgUnix(text, rights, nil)
	return err
}

// receive reads a message into v and returns its descriptors. io.EOF means that
// the other side is gone.
func (l link) receive(v any) ([]*os.File, error) {
	buf, oob := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(3*4))
	n, on, _, _, err := l.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := parseRights(oob[:on])
	if err == nil {
		err = json.Unmarshal(buf[:n], v)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

func parseRights(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("descriptors of a message: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials and the like
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "stdio"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
