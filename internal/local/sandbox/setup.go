package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketFD is where a sandbox's process finds its socket.
const socketFD = 3

// Setup is the first step inside the new namespaces, still privileged there. It
// reads a Spec from its socket, applies it, gives up all privileges and executes
// the binary with initArgs, whose main calls Init. It returns only on failure,
// which the mesh has been told of.
func Setup(initArgs []string) error {
	// Privileges are given up by one thread: exec leaves only that one.
	runtime.LockOSThread()
	spec, err := readSpec()
	if err == nil {
		err = prepare(spec)
	}
	if err == nil {
		err = drop(spec)
	}
	if err == nil {
		// Descriptors that the mesh itself inherited from its starter stay outside.
		err = os.NewSyscallError("close_range", unix.CloseRange(socketFD+1, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC))
	}
	if err == nil {
		err = syscall.Exec(Self, append([]string{os.Args[0]}, initArgs...), []string{"GOMAXPROCS=1", "GOGC=20"})
	}
	text, merr := json.Marshal(event{Error: err.Error()})
	if merr == nil {
		_, merr = unix.Write(socketFD, text)
	}
	return errors.Join(err, merr)
}

// readSpec reads exactly one message: those after it are Init's.
func readSpec() (*Spec, error) {
	buf := make([]byte, maxMessage+1)
	n, err := unix.Read(socketFD, buf)
	if err != nil {
		return nil, fmt.Errorf("reading the sandbox's description: %w", err)
	}
	var r request
	if err := json.Unmarshal(buf[:n], &r); err != nil {
		return nil, fmt.Errorf("reading the sandbox's description: %w", err)
	}
	if r.Setup == nil {
		return nil, errors.New("the first message describes no sandbox")
	}
	return r.Setup, r.Setup.check()
}

// prepare makes the sandbox's view of the file system.
func prepare(s *Spec) error {
	// No mount made here may reach the host.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("setting the host name %q: %w", s.Hostname, err)
	}
	if err := replaceFiles(s); err != nil {
		return err
	}
	for _, dir := range s.Scratch {
		if exists(dir) {
			if err := mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
				return err
			}
		}
	}
	for _, dir := range s.Hide {
		if exists(dir) {
			if err := mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "mode=555"); err != nil {
				return err
			}
		}
	}
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	// The settings of its network namespace belong to the mesh, also where the
	// program's uid is the namespace's root.
	if err := mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

func exists(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

func mount(source, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return fmt.Errorf("mounting %s: %w", target, err)
	}
	return nil
}

// replaceFiles puts own versions over files of /etc. They are written to a tmpfs
// over the first hidden directory, bound to their places, and unlinked, so that
// what hides it stays empty.
func replaceFiles(s *Spec) error {
	files := map[string]string{"/etc/resolv.conf": s.ResolvConf, "/etc/hosts": s.Hosts}
	var work string
	for _, dir := range s.Hide {
		if exists(dir) {
			work = dir
			break
		}
	}
	if work == "" {
		return fmt.Errorf("none of the directories to hide exists: %q", s.Hide)
	}
	if err := mount("tmpfs", work, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return err
	}
	for target, content := range files {
		if content == "" {
			continue
		}
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			continue // there is nothing to put it over; programs use their defaults
		}
		own := filepath.Join(work, filepath.Base(target))
		if err := os.WriteFile(own, []byte(content), 0o644); err != nil {
			return err
		}
		if err := mount(own, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		if err := os.Remove(own); err != nil {
			return err
		}
	}
	return nil
}

// drop gives up what the thread may do, for good: the exec that follows and all
// programs after it have no capability and can get none.
func drop(s *Spec) error {
	for c := 0; c <= lastCapability(); c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("dropping capability %d from the bounding set: %w", c, err)
		}
	}
	if s.GID != nil {
		if err := raw(unix.SYS_SETGROUPS, 0, 0, 0); err != nil {
			return fmt.Errorf("dropping groups: %w", err)
		}
		g := uintptr(*s.GID)
		if err := raw(unix.SYS_SETRESGID, g, g, g); err != nil {
			return fmt.Errorf("changing to group %d: %w", *s.GID, err)
		}
	}
	if s.UID != nil {
		u := uintptr(*s.UID)
		if err := raw(unix.SYS_SETRESUID, u, u, u); err != nil {
			return fmt.Errorf("changing to user %d: %w", *s.UID, err)
		}
		// The kernel forgets it when the user changes.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return fmt.Errorf("asking for the parent's death: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	return nil
}

// raw makes a system call for this thread alone, which package syscall would
// make for all threads.
func raw(trap, a, b, c uintptr) error {
	if _, _, errno := syscall.RawSyscall(trap, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// lastCapability is the highest one that the kernel knows.
func lastCapability() int {
	for c := 63; c > 0; c-- {
		if v, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err == nil && v >= 0 {
			return c
		}
	}
	return 0
}
