package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Variables by which a process hands the directories to the one that it becomes:
// in a user namespace, the user's number is another.
const (
	stateVariable   = "LATEEN_STATE_DIR"
	runtimeVariable = "LATEEN_RUNTIME_DIR"
)

// FindDirs gives the directories of a mesh by the XDG rules:
// $XDG_STATE_HOME/lateen/NAME (default ~/.local/state) and
// $XDG_RUNTIME_DIR/lateen/NAME (default /tmp/lateen-UID).
func FindDirs(name string, getenv func(string) string) (Dirs, error) {
	d := Dirs{State: getenv(stateVariable), Runtime: getenv(runtimeVariable)}
	if d.State != "" && d.Runtime != "" {
		return d, nil
	}
	state := getenv("XDG_STATE_HOME")
	if state == "" {
		home := getenv("HOME")
		if home == "" {
			return d, errors.New("neither XDG_STATE_HOME nor HOME is set: where to keep the mesh's state is not known")
		}
		state = filepath.Join(home, ".local", "state")
	}
	d.State = filepath.Join(state, "lateen", name)
	d.Runtime = filepath.Join("/tmp", "lateen-"+strconv.Itoa(os.Getuid()), name)
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		d.Runtime = filepath.Join(dir, "lateen", name)
	}
	if !filepath.IsAbs(d.State) || !filepath.IsAbs(d.Runtime) {
		return d, errors.New("XDG_STATE_HOME and XDG_RUNTIME_DIR must be absolute paths")
	}
	return d, nil
}

// Environ gives the variables that hand the directories on.
func (d Dirs) Environ() []string {
	return []string{stateVariable + "=" + d.State, runtimeVariable + "=" + d.Runtime}
}

func (d Dirs) logs() string { return filepath.Join(d.State, "logs") }

// longest is the longest name of a socket in the runtime directory; the kernel
// allows 107 bytes for the whole path.
const longest = len("/proxies/0000/agent.sock")

// make makes the directories, for this user alone.
func (d Dirs) make() error {
	if len(d.Runtime)+longest > 107 {
		return fmt.Errorf("the path %s is too long for sockets: set XDG_RUNTIME_DIR to a shorter one", d.Runtime)
	}
	for _, dir := range []string{filepath.Dir(d.Runtime), d.Runtime, d.State, d.logs()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	// The fallback lies where everybody may make directories.
	for _, dir := range []string{filepath.Dir(d.Runtime), d.Runtime} {
		info, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !info.IsDir() || !ok || int(st.Uid) != os.Getuid() {
			return fmt.Errorf("%s is not this user's directory: remove it, or set XDG_RUNTIME_DIR", dir)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// clean removes what a mesh that was killed left in the runtime directory.
func (d Dirs) clean() error {
	entries, err := os.ReadDir(d.Runtime)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(d.Runtime, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

const lockName = "lock"

// ErrRunning says that a mesh of this name runs already.
var ErrRunning = errors.New("a mesh of this name is running already")

// lockPatience is how long a lock is waited for. A killed process keeps its locks
// for some moments after nothing else of it can be seen.
const lockPatience = time.Second

// lock takes the mesh's name for this process, until the file is closed.
func (d Dirs) lock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(d.Runtime, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(20 * time.Millisecond) {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return f, nil
}

// Running reports whether a mesh holds the directories: it is true until the last
// process of the mesh's own parts is gone.
func (d Dirs) Running() bool {
	f, err := os.Open(filepath.Join(d.Runtime, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
