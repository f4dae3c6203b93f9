package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a process that outlives whoever started it. It is remembered with its
// start time, so that a process that got the same number later is not taken for it.
type daemon struct {
	PID   int      `json:"pid"`
	Start string   `json:"start"` // clock ticks since boot, as /proc/PID/stat has it
	Args  []string `json:"args"`
}

// spawn starts a process in a session of its own, its output in log/NAME.log.
// With child, the process that counts is the first child of the one started:
// nsenter and unshare stay in between when they enter a process namespace.
func (m *machine) spawn(name string, argv []string, child bool) (daemon, error) {
	log, err := os.OpenFile(m.path("log", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return daemon{}, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		return daemon{}, fmt.Errorf("starting %s: %w", name, err)
	}
	go cmd.Wait() // reaps it, if it ends while we are there
	d := daemon{PID: cmd.Process.Pid, Args: argv}
	if child {
		if d.PID, err = firstChild(cmd.Process.Pid); err != nil {
			return daemon{}, fmt.Errorf("starting %s: %w; %s", name, err, m.tail(name))
		}
	}
	if d.Start, _ = startTime(d.PID); d.Start == "" {
		return daemon{}, fmt.Errorf("%s ended at once; %s", name, m.tail(name))
	}
	return d, m.writeJSON("daemons/"+name+".json", d)
}

// start runs a program of the node in all of its namespaces.
func (m *machine) start(name string, argv ...string) error {
	line, err := m.inside(argv...)
	if err != nil {
		return err
	}
	d, err := m.spawn(name, line, true)
	if err != nil {
		return err
	}
	d.Args = argv
	return m.writeJSON("daemons/"+name+".json", d)
}

// stop ends a program of the node: SIGTERM, then SIGKILL after grace.
func (m *machine) stop(ctx context.Context, name string, grace time.Duration) error {
	d, err := m.daemon(name)
	if err != nil {
		return err
	}
	if !d.alive() {
		return nil
	}
	if err := syscall.Kill(d.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping %s: %w", name, err)
	}
	gone := func() error {
		if d.alive() {
			return fmt.Errorf("%s runs", name)
		}
		return nil
	}
	if poll(ctx, grace, "", gone) == nil {
		return nil
	}
	if err := syscall.Kill(d.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing %s: %w", name, err)
	}
	return poll(ctx, 5*time.Second, "the end of "+name, gone)
}

func (m *machine) daemon(name string) (daemon, error) {
	var d daemon
	text, err := os.ReadFile(m.path("daemons", name+".json"))
	if err != nil {
		return d, fmt.Errorf("%s was not started on %s: %w", name, m.node, err)
	}
	return d, json.Unmarshal(text, &d)
}

func (d daemon) alive() bool {
	start, state := startTime(d.PID)
	return start != "" && start == d.Start && state != "Z"
}

// startTime reads when a process began, and its state. Both are "" if there is none.
func startTime(pid int) (start, state string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	// The name is in parentheses and may hold anything; the rest is fields 3 on.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return "", ""
	}
	return fields[19], fields[0]
}

// firstChild waits for the first child of a process.
func firstChild(pid int) (int, error) {
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return 0, fmt.Errorf("it ended at once: %w", err)
		}
		if f := strings.Fields(string(text)); len(f) > 0 {
			return strconv.Atoi(f[0])
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0, errors.New("it has no child process")
}

// tail gives the end of a daemon's log, for an error's text.
func (m *machine) tail(name string) string {
	text, err := os.ReadFile(m.path("log", name+".log"))
	if err != nil {
		return err.Error()
	}
	if len(text) > 1500 {
		text = text[len(text)-1500:]
	}
	return "its log ends with:\n" + string(text)
}

// poll calls f every 100 ms until it succeeds, at most for limit.
func poll(ctx context.Context, limit time.Duration, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting %v for %s: %w", limit, what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// command runs a program and puts its output into the error.
func command(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
