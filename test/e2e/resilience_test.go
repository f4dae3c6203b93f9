package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pidsOf lists the mesh's processes whose command line holds all the words.
func (m *mesh) pidsOf(words ...string) (pids []int) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		m.t.Fatal(err)
	}
next:
	for _, dir := range dirs {
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue
		}
		for _, w := range words {
			if !bytes.Contains(line, []byte(w)) {
				continue next
			}
		}
		if pid := filepath.Base(dir); ownedBy(pid, m) {
			n, _ := strconv.Atoi(pid)
			pids = append(pids, n)
		}
	}
	return pids
}

// load sends requests at a steady rate until stopped and keeps every failure.
type load struct {
	stop chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	sent int
	bad  []string
}

func (m *mesh) load(perSecond int, path string) *load {
	l := &load{stop: make(chan struct{})}
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	slots := make(chan struct{}, 200) // requests under way, bounded
	l.wg.Go(func() {
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			slots <- struct{}{}
			l.wg.Go(func() {
				defer func() { <-slots }()
				code, text, err := m.tryGet(path)
				l.mu.Lock()
				defer l.mu.Unlock()
				l.sent++
				if err != nil || code != 200 {
					l.bad = append(l.bad, fmt.Sprintf("%s %d %v %.100s", time.Now().Format("05.000"), code, err, text))
				}
			})
		}
	})
	return l
}

// end stops the load and returns what was sent and what failed.
func (l *load) end() (int, []string) {
	close(l.stop)
	l.wg.Wait()
	return l.sent, l.bad
}

// TestControlPlaneKilledUnderLoad: proxies go on without their control plane; it
// comes back and the next change acts.
func TestControlPlaneKilledUnderLoad(t *testing.T) {
	m := startMesh(t, false, "--control-plane=process")
	m.sample("bookinfo/virtual-service-all-v1.yaml")
	pids := m.pidsOf("\x00control-plane\x00")
	if len(pids) != 1 {
		t.Fatalf("control-plane processes: %v", pids)
	}
	l := m.load(500, "/api/v1/products")
	time.Sleep(time.Second)
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	eventually(t, 20*time.Second, func() error {
		now := m.pidsOf("\x00control-plane\x00")
		return expect(len(now) == 1 && now[0] != pids[0], "processes %v, was %v", now, pids)
	})
	m.sample("bookinfo/virtual-service-reviews-v3.yaml")
	sent, bad := l.end()
	if len(bad) > 0 || sent < 1000 {
		t.Errorf("%d of %d requests failed, first: %s", len(bad), sent, bad[:min(len(bad), 5)])
	}
	t.Logf("%d requests, %d failed", sent, len(bad))
	if _, text := m.get("/api/v1/products/0/reviews"); !strings.Contains(text, `"color":"red"`) {
		t.Errorf("the change after the restart does not act: %s", text)
	}
}

// TestConfigChangesUnderLoad: routes change back and forth, no request is lost.
func TestConfigChangesUnderLoad(t *testing.T) {
	m := startMesh(t, true)
	m.sample("bookinfo/virtual-service-all-v1.yaml")
	l := m.load(200, "/api/v1/products/0/reviews")
	for i := range 10 {
		m.sample([]string{"bookinfo/virtual-service-reviews-v3.yaml", "bookinfo/virtual-service-reviews-90-10.yaml"}[i%2])
	}
	if sent, bad := l.end(); len(bad) > 0 || sent < 100 {
		t.Errorf("%d of %d requests failed, first: %s", len(bad), sent, bad[:min(len(bad), 5)])
	}
}

// TestNothingIsLeft: after down, and after a SIGKILL of everything that `up`
// started, no process, namespace, mount or link remains, and the next up works.
func TestNothingIsLeft(t *testing.T) {
	eachUser(t, func(t *testing.T, user bool) {
		m := startMesh(t, user)
		if pids := m.pidsOf("sample"); len(pids) < 6 {
			t.Fatalf("sample processes: %v", pids)
		}
		m.down()
		m.gone()

		m.up()
		mains := m.pidsOf("up", "--ports")
		if len(mains) == 0 {
			t.Fatal("no process of lateen up is found")
		}
		for _, pid := range mains {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		m.gone()
		m.up()
		if code, _ := m.get("/productpage"); code != 200 {
			t.Errorf("after a SIGKILL and another up: %d", code)
		}
	})
}

// gone checks that nothing of the mesh is left on the machine.
func (m *mesh) gone() {
	m.t.Helper()
	eventually(m.t, 10*time.Second, func() error {
		pids := m.pidsOf(m.name)
		return expect(len(pids) == 0, "processes %v", pids)
	})
	for _, file := range []string{"/proc/self/mounts", "/proc/net/dev"} {
		text, err := os.ReadFile(file)
		if err != nil {
			m.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, m.home) || strings.Contains(line, "lateen") || strings.HasPrefix(strings.TrimSpace(line), "lt") {
				m.t.Errorf("%s: %s", file, line)
			}
		}
	}
}

// TestAppliedSurvives: what was applied is in force after down and up.
func TestAppliedSurvives(t *testing.T) {
	m := startMesh(t, true)
	m.sample("bookinfo/virtual-service-reviews-v3.yaml")
	m.down()
	m.up()
	for range 10 {
		if _, text := m.get("/api/v1/products/0/reviews"); !strings.Contains(text, `"color":"red"`) {
			t.Fatalf("the route is gone: %s", text)
		}
	}
}

// TestSideBySide: two meshes with different names do not meet.
func TestSideBySide(t *testing.T) {
	a, b := startMesh(t, true), startMesh(t, true)
	a.sample("bookinfo/virtual-service-reviews-v3.yaml")
	b.sample("bookinfo/virtual-service-all-v1.yaml")
	for range 5 {
		if _, text := a.get("/api/v1/products/0/reviews"); !strings.Contains(text, `"color":"red"`) {
			t.Errorf("first mesh: %s", text)
		}
		if _, text := b.get("/api/v1/products/0/reviews"); strings.Contains(text, `"color"`) {
			t.Errorf("second mesh: %s", text)
		}
	}
}
