package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/local/netns"
)

// NeedsUserNamespace reports whether this process must become root of a user
// namespace of its own to run a mesh.
func NeedsUserNamespace() bool { return os.Geteuid() != 0 }

// InUserNamespace makes cmd start in a user namespace in which this user is root.
func InUserNamespace(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// ExplainStart turns a failure to start such a command into a sentence that says
// what to do.
func ExplainStart(err error) error {
	var e *os.PathError
	if errors.As(err, &e) {
		return netns.Explain(e.Err)
	}
	return netns.Explain(err)
}

// workloadUser is whom workloads run as where there are other users than root.
const workloadUser = 65534

// otherUsers reports whether this process may change to the workloads' user: as
// root of the machine, or of a user namespace with many users.
func otherUsers() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && mapsUser(string(text), workloadUser)
}

func mapsUser(uidMap string, uid int64) bool {
	for line := range strings.Lines(uidMap) {
		var first, host, size int64
		if n, err := fmt.Sscan(line, &first, &host, &size); err == nil && n == 3 && uid >= first && uid < first+size {
			return true
		}
	}
	return false
}

// isDirectory reports whether there is something at path to mount on.
func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
