package command

import (
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Budgets of the sidecar, by design.md: what every workload pays.
const (
	maxBytes    = 22 << 20
	maxIdle     = 28 << 10 // KiB of RSS
	maxThousand = 41 << 10 // with 1,000 idle connections
	maxLoaded   = 34 << 10
	maxIdleCPU  = 5 * time.Millisecond // a second
)

// TestFootprint measures the shipped binary: its size, its memory idle and with
// connections, and that an idle proxy does nothing.
func TestFootprint(t *testing.T) {
	c := startChild(t, slowApp(t, nil), nil, nil)
	info, err := os.Stat(c.cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	cpu := c.cpu()
	time.Sleep(4 * time.Second)
	cpu = c.cpu() - cpu
	idle, anon, file := c.memory("VmRSS"), c.memory("RssAnon"), c.memory("RssFile")
	t.Logf("binary %.1f MB; idle: RSS %.1f MB, of which anonymous %.1f, files %.1f; %v of CPU in 4 s", float64(info.Size())/(1<<20), mb(idle), mb(anon), mb(file), cpu)
	if info.Size() > maxBytes {
		t.Errorf("the binary has %d bytes, the budget is %d", info.Size(), maxBytes)
	}
	if idle > maxIdle {
		t.Errorf("idle RSS is %d KiB, the budget is %d", idle, maxIdle)
	}
	if cpu > 4*maxIdleCPU {
		t.Errorf("an idle proxy used %v in 4 s", cpu)
	}
	conns := make([]net.Conn, 1000)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", c.addr.String()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		if _, err := conns[i].Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := conns[i].Read(make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	many := c.memory("VmRSS")
	t.Logf("1,000 idle connections: RSS %.1f MB, anonymous %.1f", mb(many), mb(c.memory("RssAnon")))
	if many > maxThousand {
		t.Errorf("RSS with 1,000 idle connections is %d KiB, the budget is %d", many, maxThousand)
	}
}

func mb(kib int) float64 { return float64(kib) / 1024 }

// TestLoaded measures the memory under load, and what collecting garbage costs: with
// the floor of the heap's growth, and with the runtime's own rule.
func TestLoaded(t *testing.T) {
	for _, x := range []struct {
		name string
		env  []string
	}{{"floor", nil}, {"GOGC=100", []string{"GOGC=100"}}} {
		t.Run(x.name, func(t *testing.T) {
			c := startChild(t, slowApp(t, nil), append(x.env, "GOMAXPROCS=1"), nil)
			cpu, requests := c.cpu(), load(t, c, 64, 2*time.Second)
			cpu = c.cpu() - cpu
			rss := c.memory("VmRSS")
			_, metrics, err := c.page("/stats/prometheus")
			if err != nil {
				t.Fatal(err)
			}
			collections := "?"
			for line := range strings.Lines(metrics) {
				if v, ok := strings.CutPrefix(line, "go_gc_duration_seconds_count "); ok {
					collections = strings.TrimSpace(v)
				}
			}
			t.Logf("%d requests, %.1f µs of CPU each; RSS %.1f MB, anonymous %.1f; %s collections", requests,
				float64(cpu.Microseconds())/float64(requests), mb(rss), mb(c.memory("RssAnon")), collections)
			if rss > maxLoaded {
				t.Errorf("loaded RSS is %d KiB, the budget is %d", rss, maxLoaded)
			}
		})
	}
}

// load sends requests over connections for a while and counts the answers.
func load(t *testing.T, c *child, conns int, d time.Duration) int64 {
	t.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", c.addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			buf := make([]byte, 4096)
			for time.Now().Before(end) {
				if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
					t.Error(err)
					return
				}
				if _, err := conn.Read(buf); err != nil {
					t.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return n.Load()
}
