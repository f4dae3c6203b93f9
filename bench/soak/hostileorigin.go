package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// misdeeds are what the hostile application does with a request for a path. The
// client's proxy has a time-out of a second for all of them.
var misdeeds = map[string]func(c *net.TCPConn) (again bool){
	"/reset":      func(c *net.TCPConn) bool { return reset(c) },
	"/reset-head": func(c *net.TCPConn) bool { send(c, "HTTP/1.1 200 OK\r\ncontent-le"); return reset(c) },
	"/reset-body": func(c *net.TCPConn) bool {
		send(c, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"+strings.Repeat("x", 5000))
		return reset(c)
	},
	"/short": func(c *net.TCPConn) bool { send(c, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nxxx"); return false },
	"/chunk": func(c *net.TCPConn) bool {
		send(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nxx")
		return false
	},
	"/garbage": func(c *net.TCPConn) bool { send(c, "\x00\x01\x02garbage\r\n\r\n\xff\xff"); return true },
	"/bad-size": func(c *net.TCPConn) bool {
		send(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
		return true
	},
	"/never": func(c *net.TCPConn) bool { // until the proxy gives up
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
		return false
	},
	"/slow": func(c *net.TCPConn) bool {
		for _, part := range []string{"HTTP/1.1 200 OK\r\n", "content-length: 4\r\n\r\n", "x", "x", "x", "x"} {
			time.Sleep(100 * time.Millisecond)
			if !send(c, part) {
				return false
			}
		}
		return true
	},
	"/large": func(c *net.TCPConn) bool {
		return send(c, fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", largeBody)) && send(c, strings.Repeat("y", largeBody))
	},
	"/silent": func(c *net.TCPConn) bool { send(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"); return false }, // closes without a word
	"/early": func(c *net.TCPConn) bool {
		send(c, "HTTP/1.1 413 Too Much\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
		return false
	},
	"/more": func(c *net.TCPConn) bool {
		return send(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nextra")
	},
	"/endless": func(c *net.TCPConn) bool {
		send(c, "HTTP/1.1 200 OK\r\nx-long: "+strings.Repeat("z", 100<<10))
		return false
	},
	"/fine": func(c *net.TCPConn) bool { return send(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") },
}

func reset(c *net.TCPConn) bool {
	time.Sleep(5 * time.Millisecond) // what was sent shall leave first
	_ = c.SetLinger(0)               // it may be gone already
	return false
}

func send(c *net.TCPConn, text string) bool {
	_, err := io.WriteString(c, text)
	return err == nil
}

// startHostile serves the hostile application.
func startHostile(p *ports) (net.Listener, error) {
	l, err := listen(&p.bad)
	if err != nil {
		return nil, err
	}
	go acceptEach(l, misbehave)
	return l, nil
}

// misbehave reads the heads of requests, not their contents, and does what their
// paths say.
func misbehave(c *net.TCPConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return
		}
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		do := misdeeds[r.URL.Path]
		if do == nil {
			do = misdeeds["/fine"]
		}
		if !do(c) {
			return
		}
		if r.ContentLength != 0 {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
		}
	}
}
