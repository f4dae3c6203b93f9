// Package control is the socket by which commands speak to a running mesh: what
// runs, its output, a command inside a workload, the end. HTTP and JSON over a
// Unix socket; whoever can open it may do everything.
package control

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/lateen-mesh/lateen/internal/local/supervise"
)

// SocketName is the socket in a mesh's runtime directory.
const SocketName = "control.sock"

// Info says where a mesh is reached. URLs are full; what is not there is empty.
type Info struct {
	Name    string  `json:"name"`
	Ingress Ingress `json:"ingress"`
	Console string  `json:"console"`
	XDS     string  `json:"xds"`
}

// Ingress are the URLs of the gateway on this machine.
type Ingress struct {
	HTTP  string `json:"http"`
	HTTPS string `json:"https"`
}

// Target names a container of a workload: a pod, a Deployment or a label "app".
type Target struct {
	Namespace, Name string
	Container       string // "" is the first; "proxy" is the sidecar's output
}

// Command is a command to run in a workload.
type Command struct {
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"` // added to the container's
}

// Running is a command that runs in a workload.
type Running interface {
	Done() <-chan struct{}
	// Result tells the exit code, or why the command did not start.
	Result() (code int, err error)
	Signal(sig int) error
}

// Mesh is what the socket serves.
type Mesh interface {
	Info() Info
	Pods() []supervise.Status
	// LogFile gives the file that holds a container's output.
	LogFile(Target) (string, error)
	Exec(t Target, c Command, in, out, err *os.File) (Running, error)
	// Admin connects to the admin pages of a workload's proxy.
	Admin(ctx context.Context, t Target) (net.Conn, error)
}

// Stop ends the mesh; it returns at once.
type Stop func()

// LogOptions say which part of the output is wanted.
type LogOptions struct {
	Tail   int  // last lines; negative: all
	Follow bool // go on with what comes
}

// pollLog is how often a followed file is looked at.
const pollLog = 100 * time.Millisecond

// ErrNotRunning means that no mesh serves the socket.
var ErrNotRunning = errors.New("the mesh is not running")
