// Package proc starts the processes of a measurement on chosen cores, and reads
// what they cost: processor time and memory, from the kernel's own books.
package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a running child.
type Process struct {
	Name string
	PID  int
	// Log is the file that holds what it writes to its standard streams.
	Log string

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // set before done is closed
	stop sync.Once
}

// Spec says what to start.
type Spec struct {
	Name  string
	Cores string // for taskset: "0", "0,1"; "": anywhere
	Args  []string
	Env   []string // added to the environment
	Log   string   // file for its standard output and error
}

// Start starts a process. It dies with the harness.
func Start(s Spec) (*Process, error) {
	args := s.Args
	if s.Cores != "" {
		args = append([]string{"taskset", "-c", s.Cores}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(s.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	p := &Process{Name: s.Name, PID: cmd.Process.Pid, Log: s.Log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// grace is what a process gets to end by itself.
const grace = 2 * time.Second

// Stop ends the process and waits for it.
func (p *Process) Stop() {
	p.stop.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-p.done:
		case <-time.After(grace):
			_ = p.cmd.Process.Kill() // it may have ended
			<-p.done
		}
	})
}

// Err tells of a process that has ended, with the last lines that it wrote.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v): %s", p.Name, p.err, p.Tail())
	default:
		return nil
	}
}

// Tail gives the last part of the process's log.
func (p *Process) Tail() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// WaitFor repeats try until it succeeds, the process ends, or the time is over.
func (p *Process) WaitFor(within time.Duration, try func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ended := p.Err(); ended != nil {
			return ended
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s: %w; its log ends: %s", p.Name, within, err, p.Tail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// CPU is the processor time, user and system, that the process has used. It is
// the sum over its threads, and its children's, of the scheduler's account, which is exact where
// /proc/PID/stat counts ticks of 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	var files []string
	for _, pid := range family(p.PID) {
		found, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil {
			return 0, err
		}
		files = append(files, found...)
	}
	var sum time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // a thread that has just ended
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f, err)
		}
		sum += time.Duration(ns)
	}
	if sum == 0 {
		return 0, fmt.Errorf("%s: no processor time in /proc/%d", p.Name, p.PID)
	}
	return sum, nil
}

// Memory is what a process holds, in bytes.
type Memory struct{ RSS, Anon int64 }

// Memory reads the resident memory of the process and its children.
func (p *Process) Memory() (Memory, error) {
	var sum Memory
	for _, pid := range family(p.PID) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return Memory{}, err
		}
		m, err := parseStatus(string(text))
		if err != nil {
			return Memory{}, err
		}
		sum.RSS += m.RSS
		sum.Anon += m.Anon
	}
	return sum, nil
}

// family is a process and its children, such as nginx's workers.
func family(pid int) []int {
	all := []int{pid}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return all // it has ended, which reading its account tells
	}
	for word := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(word); err == nil {
			all = append(all, family(child)...)
		}
	}
	return all
}

func parseStatus(text string) (Memory, error) {
	var m Memory
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		var to *int64
		switch name {
		case "VmRSS":
			to = &m.RSS
		case "RssAnon":
			to = &m.Anon
		default:
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, fmt.Errorf("%q: %w", line, err)
		}
		*to = kb << 10
	}
	if m.RSS == 0 {
		return m, errors.New("no VmRSS in the process's status")
	}
	return m, nil
}

// Pin moves every thread of this process to the given cores.
func Pin(cores string) error {
	out, err := exec.Command("taskset", "-a", "-c", "-p", cores, strconv.Itoa(os.Getpid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("taskset: %w: %s", err, out)
	}
	return nil
}
