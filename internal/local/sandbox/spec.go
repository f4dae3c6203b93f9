package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Spec describes a sandbox.
type Spec struct {
	Hostname string `json:"hostname"`
	// Hide are directories that appear empty and read-only inside: the mesh's
	// state and sockets. At least one is needed; those that do not exist are
	// passed over.
	Hide []string `json:"hide"`
	// ResolvConf and Hosts are the contents of these files in /etc; empty keeps the
	// host's.
	ResolvConf string `json:"resolvConf,omitempty"`
	Hosts      string `json:"hosts,omitempty"`
	// Scratch are directories that get an empty tmpfs (emptyDir volumes).
	Scratch []string `json:"scratch,omitempty"`
	// UID and GID are whom the program runs as; nil keeps the caller's, which in a
	// user namespace is the only one there is.
	UID *int `json:"uid,omitempty"`
	GID *int `json:"gid,omitempty"`
}

func (s *Spec) check() error {
	if len(s.Hide) == 0 {
		return errors.New("a sandbox hides nothing")
	}
	for _, dir := range slices.Concat(s.Hide, s.Scratch) {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
			return fmt.Errorf("%q cannot be covered: it is not an absolute, clean path", dir)
		}
	}
	if s.UID != nil && *s.UID == 0 && os.Getuid() != 0 {
		return errors.New("the program cannot run as root")
	}
	return nil
}

// Command is a program to run in a sandbox.
type Command struct {
	// Path is what is executed: an absolute path, or Self. A name without a slash
	// is looked up in the PATH of Env.
	Path string   `json:"path"`
	Args []string `json:"args"` // with the program's name
	Env  []string `json:"env"`
	Dir  string   `json:"dir,omitempty"` // "" is /
}

// Self is the path of the running binary, wherever it lies: a sandbox can run
// it even where its directory is closed to the sandbox's user.
const Self = "/proc/self/exe"

// Exit is how a program ended.
type Exit struct {
	Code   int `json:"code"`             // its exit code, or 128+signal
	Signal int `json:"signal,omitempty"` // that killed it; 0: none
}

// String gives "exit code 1" or "signal 9".
func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %d", e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}
