package command

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMemoryLimit: a proxy with a limit of 40 MiB, and 5,000 clients that upload
// to an application which does not read, needs several times as much for all of
// them. It serves those that it can, tells the others, lives, and recovers.
func TestMemoryLimit(t *testing.T) {
	const limit = 40 << 20
	t.Run("GOMEMLIMIT", func(t *testing.T) {
		c := startChild(t, deafApp(t), []string{"GOMEMLIMIT=" + strconv.Itoa(limit*9/10)}, nil)
		besiege(t, c, limit)
	})
	t.Run("cgroup", func(t *testing.T) {
		c := startChildIn(t, memoryGroup(t, limit), deafApp(t), nil, nil)
		var s struct {
			MemoryLimit     int64
			MemoryLimitFrom string
		}
		if c.json("/overload", &s); s.MemoryLimitFrom != "cgroup" || s.MemoryLimit < limit/2 || s.MemoryLimit >= limit {
			t.Errorf("limit %d from %q", s.MemoryLimit, s.MemoryLimitFrom)
		}
		besiege(t, c, limit)
	})
}

// memoryGroup makes a control group with a limit, or skips.
func memoryGroup(t *testing.T, limit int) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		var dir, file string
		switch {
		case f[1] == "memory":
			dir, file = filepath.Join("/sys/fs/cgroup/memory", f[2]), "memory.limit_in_bytes"
		case f[1] == "":
			dir, file = filepath.Join("/sys/fs/cgroup", f[2]), "memory.max"
		default:
			continue
		}
		dir = filepath.Join(dir, fmt.Sprintf("lateen-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			for range 100 { // the process in it has just ended
				if err := os.Remove(dir); err == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("%s stays", dir)
		})
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0o644); err == nil {
			return dir
		}
	}
	t.Skip("this machine lets the test make no control group with a memory limit")
	return ""
}

// deafApp accepts connections and reads nothing of them, but for requests of the
// path /quick, which it answers.
func deafApp(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var conns []net.Conn
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			go func() {
				head := make([]byte, 512)
				for {
					n, err := c.Read(head)
					if err != nil || !bytes.Contains(head[:n], []byte("/quick")) {
						return // and leave it open
					}
					if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
						return
					}
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func besiege(t *testing.T, c *child, limit int) {
	const clients = 5000
	ask := func(path string) (int, http.Header, error) {
		conn, err := net.DialTimeout("tcp", c.addr.String(), 2*time.Second)
		if err != nil {
			return 0, nil, err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
			return 0, nil, err
		}
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path); err != nil {
			return 0, nil, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, nil, err
		}
		return resp.StatusCode, resp.Header, nil
	}
	if code, _, err := ask("/quick"); code != 200 {
		t.Fatalf("before: %d, %v", code, err)
	}
	var failed atomic.Int64
	conns := make([]net.Conn, clients)
	body := bytes.Repeat([]byte("x"), 64<<10)
	work := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range work {
				conn, err := net.DialTimeout("tcp", c.addr.String(), 5*time.Second)
				if err != nil {
					failed.Add(1)
					continue
				}
				conns[i] = conn
				_ = conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
				// What comes back is seen in the proxy's counters.
				if _, err = fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"); err == nil {
					_, _ = conn.Write(body)
				}
			}
		})
	}
	most := 0
	for i := range clients {
		work <- i
		if i%100 == 0 {
			most = max(most, c.memory("RssAnon"))
		}
	}
	close(work)
	wg.Wait()
	time.Sleep(200 * time.Millisecond)
	most = max(most, c.memory("RssAnon"))
	refused := c.stat("overload.connections_refused")
	served := c.stat("listener.downstream_cx_active")
	t.Logf("of %d clients %d did not connect; the proxy refused %d, shed %d, serves %d, %d connects to the application timed out; anonymous memory at most %.1f MB",
		clients, failed.Load(), refused, c.stat("overload.requests_shed"), served, c.stat("cluster.c.upstream_cx_connect_timeout"), mb(most))
	if served < 100 {
		t.Errorf("only %d are served", served)
	}
	if refused == 0 {
		t.Error("nobody was refused")
	}
	if most<<10 > limit {
		t.Errorf("%d KiB of anonymous memory, the limit is %d", most, limit>>10)
	}
	if code, text, err := c.page("/ready"); err != nil || code != 200 {
		t.Errorf("/ready under siege: %d %s %v", code, text, err)
	}
	_, text, err := c.page("/overload")
	if err != nil || !strings.Contains(text, `"why"`) {
		t.Errorf("%s, %v", text, err)
	}
	for _, conn := range conns {
		if conn != nil {
			conn.Close()
		}
	}
	c.eventually("recovered", func() bool { code, _, _ := ask("/quick"); return code == 200 })
	if log := c.out.String(); !strings.Contains(log, "overload") {
		t.Errorf("nothing was logged:\n%s", log)
	}
}
