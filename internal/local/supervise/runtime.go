package supervise

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/local/sandbox"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// PodSpec is what a Runtime must know to make a pod's place. It is immutable.
type PodSpec struct {
	Namespace, Name string
	Owner           string // the Deployment
	ServiceAccount  string
	UID             string
	Labels          map[string]string
	Annotations     map[string]string
	Ports           []registry.Port
	// Gateway pods consist of a proxy only.
	Gateway bool
	// Injected is false for a pod that wants no proxy.
	Injected bool
	// RunAsUser and RunAsGroup are the pod's securityContext; nil: the default.
	RunAsUser, RunAsGroup *int64
	// Scratch are the mount paths of emptyDir volumes.
	Scratch []string
}

// Runtime makes places for pods.
type Runtime interface {
	// Open makes a pod's network namespace and starts its proxy, without waiting for
	// it.
	Open(ctx context.Context, p *PodSpec) (Place, error)
}

// Place is where a pod's processes run.
type Place interface {
	Addr() netip.Addr
	// Proxy is nil for a pod without one.
	Proxy() Proxy
	// Start starts a container's program.
	Start(container string, c sandbox.Command) (Program, error)
	// DialContext connects to the pod's application, past its proxy.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Close takes everything away: programs that still run, proxy, namespace.
	Close() error
}

// Proxy is a pod's proxy.
type Proxy interface {
	// Wait returns when the proxy has its first configuration in force, or ctx ends.
	Wait(ctx context.Context) error
	Ready() bool
	// Drain takes no new calls and returns when those under way have ended, or ctx.
	Drain(ctx context.Context)
}

// Program is a container's running program.
type Program interface {
	// Done is closed when the program has ended.
	Done() <-chan struct{}
	// Result waits for the end; an error means that the program did not start.
	Result() (sandbox.Exit, error)
	Signal(syscall.Signal) error
	// Kill kills the program and all that it started, and returns when they are
	// gone.
	Kill()
	// Exec runs a command beside the program and returns its output.
	Exec(ctx context.Context, args []string) (sandbox.Exit, []byte, error)
}

// Sources give the objects that environments refer to.
type Sources interface {
	ConfigMap(namespace, name string) (*corev1.ConfigMap, bool)
	Secret(namespace, name string) (*corev1.Secret, bool)
}
