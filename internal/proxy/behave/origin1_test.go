package behave

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// origin is the server of one row: it plays its script for the main request, and
// answers the request that follows as it should.
type origin struct {
	l net.Listener

	mu    sync.Mutex
	conns int   // guarded by mu
	main  []int // guarded by mu: connections on which the main request came
	after []int // guarded by mu: those of the request that followed
	open  map[net.Conn]bool
}

// startOrigin serves scripts in the row's protocol of the upstream side.
func startOrigin(t testing.TB, o *origin, up byte, script string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.l, o.open = l, map[net.Conn]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.mu.Lock()
			o.conns++
			n := o.conns
			o.open[c] = true
			o.mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				if up == '1' {
					o.serve1(c, n, script)
				} else {
					o.serve2(c, n, script)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		o.mu.Lock()
		for c := range o.open {
			c.Close()
		}
		o.mu.Unlock()
		wg.Wait()
	})
}

// saw books a request's head; main says that the script is to be played.
func (o *origin) saw(path string, conn int) (main bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if strings.HasSuffix(path, "/after") {
		o.after = append(o.after, conn)
		return false
	}
	o.main = append(o.main, conn)
	return true
}

// forget makes ready for another look.
func (o *origin) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.main, o.after = nil, nil
}

// conn1 is an origin's connection of HTTP/1.1.
type conn1 struct {
	*net.TCPConn
	in  *bufio.Reader
	req *http.Request
}

func (c *conn1) send(text string) bool { _, err := io.WriteString(c, text); return err == nil }

// reset ends with RST once what was sent has left.
func (c *conn1) reset() bool {
	time.Sleep(20 * time.Millisecond)
	_ = c.SetLinger(0) // it may be gone
	return false
}

func (c *conn1) body() bool { _, err := io.Copy(io.Discard, c.req.Body); return err == nil }

// ends waits until the proxy ends the connection.
func (c *conn1) ends() bool {
	_, _ = io.Copy(io.Discard, c.in) // however it ends
	return false
}

const small = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

// slowness is how long a slow server takes: much longer than the proxy needs to see
// its client go.
const slowness = 400 * time.Millisecond

// scripts1 play the main request; true goes on with the connection.
var scripts1 = map[string]func(c *conn1) bool{
	"ok":       func(c *conn1) bool { return c.body() && c.send(small) },
	"rst":      func(c *conn1) bool { c.body(); return c.reset() },
	"fin":      func(c *conn1) bool { c.body(); return false },
	"rst-head": func(c *conn1) bool { c.body(); c.send("HTTP/1.1 200 OK\r\ncontent-le"); return c.reset() },
	"fin-head": func(c *conn1) bool { c.body(); c.send("HTTP/1.1 200 OK\r\ncontent-le"); return false },
	"rst-length": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nxxx")
		return c.reset()
	},
	"fin-length": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nxxx")
		return false
	},
	"fin-chunk": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nxx")
		return false
	},
	"fin-chunks": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxx\r\n")
		return false
	},
	"until-fin": func(c *conn1) bool { c.body(); c.send("HTTP/1.1 200 OK\r\n\r\nall of it"); return false },
	"bad-chunk": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
		return c.ends()
	},
	"garbage": func(c *conn1) bool { c.body(); c.send("\x00\x01garbage\r\n\r\n"); return c.ends() },
	"two-lengths": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok")
		return c.ends()
	},
	"big-head": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\nx-big: " + strings.Repeat("x", 90<<10) + "\r\n\r\n")
		return c.ends()
	},
	"never": func(c *conn1) bool { return c.ends() },
	"stall": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nxxx")
		return c.ends()
	},
	"slow": func(c *conn1) bool { c.body(); time.Sleep(slowness); return c.send(small) },
	"early": func(c *conn1) bool {
		return c.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno") && c.body()
	},
	"early-close": func(c *conn1) bool {
		c.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
		return c.ends()
	},
	"early-fin": func(c *conn1) bool {
		c.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
		return false
	},
	"ok-close": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
		return false
	},
	"ok-rst": func(c *conn1) bool { c.body(); c.send(small); return c.reset() }, // without a word
	"more": func(c *conn1) bool {
		c.body()
		c.send(small + "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmore")
		return c.ends()
	},
	"hint":     func(c *conn1) bool { c.body(); return c.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + small) },
	"hint-rst": func(c *conn1) bool { c.body(); c.send("HTTP/1.1 100 Continue\r\n\r\n"); return c.reset() },
	"101": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
		return c.ends()
	},
	"204-body": func(c *conn1) bool {
		c.body()
		c.send("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok")
		return c.ends()
	},
	"large": func(c *conn1) bool {
		c.body()
		return c.send("HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n" + strings.Repeat("l", 1<<20))
	},
	"echo-tunnel": func(c *conn1) bool {
		c.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
		_, _ = io.Copy(struct{ io.Writer }{c}, c.in)
		c.send("bye")
		return false
	},
	"503": func(c *conn1) bool {
		return c.body() && c.send("HTTP/1.1 503 Unavailable\r\ncontent-length: 2\r\n\r\nno")
	},
}

func (o *origin) serve1(nc net.Conn, n int, script string) {
	c := &conn1{TCPConn: nc.(*net.TCPConn), in: bufio.NewReader(nc)}
	for {
		var err error
		if c.req, err = http.ReadRequest(c.in); err != nil {
			return
		}
		play := scripts1["ok"]
		if o.saw(c.req.URL.Path, n) {
			play = scripts1[script]
		}
		if play == nil || !play(c) {
			return
		}
	}
}
