package behave

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Variables of the environment by which this program calls itself.
const (
	insideVar = "LATEEN_BEHAVE_INSIDE" // set: in namespaces of its own
	enterVar  = "LATEEN_BEHAVE_ENTER"  // a network namespace to run the arguments in
	envoyVar  = "LATEEN_TEST_ENVOY"
)

// TestMain runs the tests in a user and a network namespace of their own.
func TestMain(m *testing.M) {
	if path := os.Getenv(enterVar); path != "" {
		fmt.Fprintln(os.Stderr, enter(path))
		os.Exit(126)
	}
	flag.Parse()
	if os.Getenv(insideVar) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		os.Exit(max(1, ended.ExitCode()))
	case errors.Is(err, os.ErrPermission):
		fmt.Println("user namespaces are forbidden here: no case runs")
	case err != nil:
		fmt.Println("in namespaces:", err)
		os.Exit(1)
	}
}

// enter becomes Envoy in another network namespace; it returns only with an error.
// Envoy writes its access log at once: scripts wait for it.
func enter(path string) error {
	runtime.LockOSThread()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering %s: %w", path, err)
	}
	args := append([]string{os.Getenv(envoyVar)}, os.Args[1:]...)
	if i := slices.Index(args, "--file-flush-interval-msec"); i >= 0 && i+1 < len(args) {
		args[i+1] = "10"
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, enterVar+"=") })
	return unix.Exec(args[0], args, env)
}
