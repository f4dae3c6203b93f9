package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFootprint measures the user's clock: the time to the first good page, and
// what the whole mesh costs when nobody asks anything. Budgets of time are not
// asserted here, machines differ; memory is. The figures are printed, and written
// to LATEEN_RESULTS where that is set.
func TestFootprint(t *testing.T) {
	m := newMesh(t, true)
	start := time.Now()
	m.up()
	for {
		if code, _, err := m.tryGet("/productpage"); err == nil && code == 200 {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatal("no productpage within a minute")
		}
		time.Sleep(5 * time.Millisecond)
	}
	first := time.Since(start)
	pids := m.pidsOf("up", "--ports")
	if len(pids) == 0 {
		t.Fatal("no process of lateen up")
	}
	time.Sleep(5 * time.Second) // let garbage of the start be collected
	rss := 0
	cpu0 := 0
	for _, pid := range pids {
		rss += rssKiB(t, pid)
		cpu0 += cpuTicks(t, pid)
	}
	const watch = 10 * time.Second
	time.Sleep(watch)
	cpu := -cpu0
	for _, pid := range pids {
		cpu += cpuTicks(t, pid)
	}
	share := float64(cpu) / 100 / watch.Seconds() * 100
	report := fmt.Sprintf("first good productpage after %.2f s; idle: %d MB RSS, %.1f %% of a core (the mesh's %d processes, all proxies and the gateway in them)\n",
		first.Seconds(), rss>>10, share, len(pids))
	t.Log(report)
	if file := os.Getenv("LATEEN_RESULTS"); file != "" {
		if err := os.WriteFile(file, []byte(report), 0o644); err != nil {
			t.Error(err)
		}
	}
	if rss>>10 > 150 {
		t.Errorf("idle RSS is %d MB, the budget is 150", rss>>10)
	}
}

// rssKiB reads VmRSS of a process.
func rssKiB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	t.Fatalf("no VmRSS of %d", pid)
	return 0
}

// cpuTicks reads user and system time of a process, in hundredths of a second.
func cpuTicks(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	sys, _ := strconv.Atoi(f[12])
	return user + sys
}
