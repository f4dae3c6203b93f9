package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the sandbox's own binary, and runs the tests a second time as
// an ordinary user would: inside a user namespace.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "sandbox-setup":
			fmt.Fprintln(os.Stderr, Setup([]string{"sandbox-init"}))
			os.Exit(1)
		case "sandbox-init":
			if err := Init(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	code := m.Run()
	if code == 0 && os.Getenv("LATEEN_TEST_USERNS") == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), "LATEEN_TEST_USERNS=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
		switch err := cmd.Run(); {
		case errors.Is(err, os.ErrPermission):
			fmt.Println("user namespaces are forbidden here: the tests ran only as", os.Getuid())
		case err != nil:
			fmt.Println("in a user namespace:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func inUserNamespace() bool { return os.Getenv("LATEEN_TEST_USERNS") != "" }

// start makes a sandbox over a state directory with a key in it.
func start(t *testing.T, change func(*Spec)) (*Sandbox, string) {
	t.Helper()
	state, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	if err := os.WriteFile(filepath.Join(state, "key"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := Spec{Hostname: "pod-0", Hide: []string{state}, ResolvConf: "nameserver 10.244.0.1\n"}
	if !inUserNamespace() {
		id := 65534
		spec.UID, spec.GID = &id, &id
	}
	if change != nil {
		change(&spec)
	}
	l := Launcher{SetupArgs: []string{"sandbox-setup"}, Start: (*exec.Cmd).Start}
	s, err := l.New(spec, os.Stderr)
	if errors.Is(err, unix.EPERM) {
		t.Skip("namespaces are forbidden here")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, state
}

// run runs a shell script as the next command and returns its output.
func run(t *testing.T, s *Sandbox, script string) (string, Exit) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p, err := s.Run(Command{Path: "sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/sbin:/usr/bin:/bin", "A=b"}}, Stdio{null, w, w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := p.Result()
	if err != nil {
		t.Fatal(err)
	}
	return string(out), exit
}

// hold starts a main program that stays.
func hold(t *testing.T, s *Sandbox) *Process {
	t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p, err := s.Run(Command{Path: "/bin/sleep", Args: []string{"sleep", "100"}}, Stdio{null, null, null})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestConfined: what a program in a sandbox sees and may do.
func TestConfined(t *testing.T) {
	// A descriptor that whoever started the mesh forgot to close on exec.
	leak, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	s, state := start(t, nil)
	hold(t, s)
	for _, c := range []struct{ what, script, want string }{
		{"the host name", "hostname", "pod-0\n"},
		{"the state directory", "ls " + state + " | wc -l; cat " + state + "/key 2>&1", "0\ncat: " + state + "/key: No such file or directory\n"},
		{"writing where state is hidden", "touch " + state + "/x 2>/dev/null; echo $?", "1\n"},
		{"uncovering it", "umount " + state + " 2>/dev/null; ls " + state + " | wc -l", "0\n"},
		{"the resolver", "cat /etc/resolv.conf", "nameserver 10.244.0.1\n"},
		{"capabilities", "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs)' /proc/self/status",
			"CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"},
		{"its environment", "env | grep '^A'; env | grep LATEEN", "A=b\n"},
		{"descriptors", "ls /proc/self/fd | wc -l", "4\n"}, // stdio and the listing itself
		{"settings of the network", "echo 1 > /proc/sys/net/ipv4/ip_forward", ""},
	} {
		got, _ := run(t, s, c.script)
		if c.want != "" && got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
		if c.want == "" && !strings.Contains(got, "Read-only") && !strings.Contains(got, "denied") && !strings.Contains(got, "cannot create") {
			t.Errorf("%s: got %q, want a refusal", c.what, got)
		}
	}
	if _, err := os.ReadFile(filepath.Join(state, "key")); err != nil {
		t.Errorf("the host lost its state directory: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), state) {
		t.Errorf("a mount of the sandbox reached the host (%v)", err)
	}
}

// TestOtherProcesses: only the sandbox's own processes are there.
func TestOtherProcesses(t *testing.T) {
	s, _ := start(t, nil)
	hold(t, s)
	got, _ := run(t, s, "cd /proc; for p in [0-9]*; do cat $p/comm; done | grep -vxE 'sh|cat|grep|wc|sleep|exe|sandbox.*' | wc -l; kill -0 "+strconv.Itoa(os.Getpid())+" 2>/dev/null; echo $?; readlink /proc/1/ns/net >/dev/null 2>&1; echo $?")
	lines := strings.Fields(got)
	if len(lines) != 3 || lines[1] == "0" {
		t.Fatalf("got %q", got)
	}
	if n, _ := strconv.Atoi(lines[0]); n > 0 {
		t.Errorf("%d other processes are seen: %q", n, got)
	}
}

// TestNoCapabilityCanComeBack: neither the mark, nor mounts, nor set-user-id
// programs.
func TestNoCapabilityCanComeBack(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 to make system calls with")
	}
	s, _ := start(t, nil)
	hold(t, s)
	for what, code := range map[string]string{
		"setting a mark": "import socket; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, 36, 1337)",
		"a raw socket":   "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)",
		"flushing rules": `import socket,struct
s=socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
m=lambda t,f,b: struct.pack("=IHHII",16+len(b),t,f,1,0)+b
g=struct.pack("=BBH",0,0,0x0a00)
s.send(m(16,1,g)+m(0x0a02,5,struct.pack("=BBH",2,0,0))+m(17,1,g))
raise SystemExit(1 if struct.unpack("=i",s.recv(4096)[16:20])[0] else 0)`,
	} {
		if out, exit := run(t, s, "exec python3 -c '"+code+"'"); exit.Code == 0 {
			t.Errorf("%s succeeds: %s", what, out)
		}
	}
}

// TestExit: codes and signals are told, and the sandbox ends with its main
// program and takes everything along.
func TestExit(t *testing.T) {
	s, _ := start(t, nil)
	main := hold(t, s)
	if _, exit := run(t, s, "exit 7"); exit != (Exit{Code: 7}) {
		t.Errorf("exit: %+v", exit)
	}
	if _, exit := run(t, s, "kill -9 $$"); exit != (Exit{Code: 137, Signal: 9}) {
		t.Errorf("killed: %+v", exit)
	}
	run(t, s, "sleep 99 >/dev/null 2>&1 &")
	pid := s.PID()
	if err := main.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit, err := main.Result(); err != nil || exit.Signal != int(unix.SIGTERM) {
		t.Errorf("main: %+v %v", exit, err)
	}
	select {
	case <-s.Gone():
	case <-time.After(5 * time.Second):
		t.Fatal("the sandbox outlives its main program")
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the sandbox's init is still there: %v", err)
	}
	if _, err := s.Run(Command{Path: "true", Args: []string{"true"}}, Stdio{os.Stdin, os.Stdin, os.Stdin}); !errors.Is(err, ErrGone) {
		t.Errorf("a command in a dead sandbox: %v", err)
	}
}

// TestNotStarted: a program that is not there is an error of the command, and of
// the set-up one of New.
func TestNotStarted(t *testing.T) {
	s, _ := start(t, nil)
	hold(t, s)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p, err := s.Run(Command{Path: "no-such-program", Args: []string{"no-such-program"}}, Stdio{null, null, null})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Result(); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("got %v", err)
	}
	l := Launcher{SetupArgs: []string{"sandbox-setup"}, Start: (*exec.Cmd).Start}
	if _, err := l.New(Spec{Hostname: "x", Hide: []string{"/does/not/exist"}}, nil); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %v", err)
	}
}

// TestParentDies: when the mesh is killed, so is every sandbox.
func TestParentDies(t *testing.T) {
	if os.Getenv("LATEEN_TEST_PARENT") != "" {
		s, _ := start(t, nil)
		hold(t, s)
		fmt.Printf("PID=%d.\n", s.PID())
		time.Sleep(time.Minute)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("an ordinary user has no namespaces outside a user namespace")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestParentDies$")
	cmd.Env = append(os.Environ(), "LATEEN_TEST_PARENT=1", "LATEEN_TEST_USERNS="+os.Getenv("LATEEN_TEST_USERNS"),
		"TMPDIR="+t.TempDir()) // what it cannot remove any more
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 200)
	n, err := out.Read(buf)
	text := string(buf[:n])
	_, rest, ok := strings.Cut(text, "PID=")
	digits, _, _ := strings.Cut(rest, ".")
	pid, _ := strconv.Atoi(digits)
	if !ok || err != nil || pid == 0 {
		cmd.Process.Kill()
		t.Fatalf("the parent said %q (%v)", text, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	deadline := time.Now().Add(5 * time.Second)
	for !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		// A zombie that nobody reaps here is dead as well.
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the sandbox outlives its parent")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
