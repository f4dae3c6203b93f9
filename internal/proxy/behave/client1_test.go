package behave

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// seen is what a client saw of one exchange.
type seen struct {
	answer string // "200", "200 cut", "none"
	reason string // our reason code, of local answers
	more   string // what else matters to the script
	again  bool   // the connection may be used again
}

// caller is a client's connection, of either protocol.
type caller interface {
	// play sends the main request as the script says, and tells what came. arrived
	// waits until the server has the request's head.
	play(script, path string, post bool, arrived func()) seen
	// follow makes a sound request on the same connection; false: it cannot.
	follow(path string) bool
	local() string
	close()
}

func dial(down byte, to netip.AddrPort) (caller, error) {
	c, err := net.DialTimeout("tcp", to.String(), clientPatience)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(clientPatience)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if down == '2' {
		return newClient2(c.(*net.TCPConn))
	}
	return &client1{TCPConn: c.(*net.TCPConn), in: bufio.NewReader(c)}, nil
}

const clientPatience = 6 * time.Second

// client1 speaks HTTP/1.1.
type client1 struct {
	*net.TCPConn
	in *bufio.Reader
}

func (c *client1) local() string    { return c.LocalAddr().String() }
func (c *client1) close()           { c.Close() }
func (c *client1) send(text string) { _, _ = io.WriteString(c, text) } // a lost proxy shows in reading

// head begins a request; the rest of its head, and the empty line, follow.
func head(method, path string) string {
	return method + " " + path + " HTTP/1.1\r\nhost: behave\r\n"
}

const halfBody = "content-length: 1000\r\n\r\nhalf"

func (c *client1) play(script, path string, post bool, arrived func()) seen {
	switch script {
	case "":
		if post {
			c.send(head("POST", path) + "content-length: 5\r\n\r\nhello")
		} else {
			c.send(head("GET", path) + "\r\n")
		}
	case "half-body": // the rest never comes
		c.send(head("POST", path) + halfBody)
	case "large-body": // more than any buffer holds, to a server that does not read it
		go c.send(head("POST", path) + "content-length: 8388608\r\n\r\n" + strings.Repeat("b", 8<<20))
	case "half-body-reset":
		c.send(head("POST", path) + halfBody)
		arrived()
		return c.reset()
	case "half-body-fin":
		c.send(head("POST", path) + halfBody)
		arrived()
		return c.fin()
	case "half-head-reset":
		c.send(head("GET", path) + "x-ha")
		return c.reset()
	case "half-head-fin":
		c.send(head("GET", path) + "x-ha")
		return c.fin()
	case "half-head": // the rest never comes
		c.send(head("GET", path) + "x-ha")
	case "idle": // no request at all
	case "reset":
		c.send(head("GET", path) + "\r\n")
		arrived()
		return c.reset()
	case "fin":
		c.send(head("GET", path) + "\r\n")
		arrived()
		return c.fin()
	case "pipelined-fin":
		c.send(head("GET", path) + "\r\n" + head("GET", path) + "\r\n")
		arrived()
		return c.fin()
	case "garbage":
		c.send("\x00\x01\x02 garbage\r\n\r\n")
	case "bad-chunk":
		c.send(head("POST", path) + "transfer-encoding: chunked\r\n\r\nzz\r\n")
	case "two-lengths":
		c.send(head("POST", path) + "content-length: 1\r\ncontent-length: 2\r\n\r\nxx")
	case "both-lengths":
		c.send(head("POST", path) + "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
	case "no-host":
		c.send("GET " + path + " HTTP/1.1\r\n\r\n")
	case "version":
		c.send("GET " + path + " HTTP/9.9\r\nhost: behave\r\n\r\n")
	case "big-head":
		c.send(head("GET", path) + "x-big: " + strings.Repeat("x", 70<<10) + "\r\n\r\n")
	case "expect":
		c.send(head("POST", path) + "expect: 100-continue\r\ncontent-length: 5\r\n\r\n")
		s := c.read("POST")
		if s.answer == "100" {
			c.send("hello")
			s = c.read("POST")
			s.more = "after 100"
		}
		return s
	case "slow-reader":
		c.send(head("GET", path) + "\r\n")
		_ = c.SetReadBuffer(64 << 10) // smaller than the answer by far
		time.Sleep(200 * time.Millisecond)
	case "tunnel-fin":
		return c.tunnel(path)
	default:
		return seen{answer: "no script " + script}
	}
	return c.read("GET")
}

func (c *client1) reset() seen {
	time.Sleep(30 * time.Millisecond)
	_ = c.SetLinger(0)
	c.Close()
	return seen{answer: "-"}
}

func (c *client1) fin() seen {
	time.Sleep(30 * time.Millisecond)
	_ = c.CloseWrite()
	s := c.read("GET")
	s.again = false
	return s
}

// read reads one answer.
func (c *client1) read(method string) seen {
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return seen{answer: "none" + late(err)}
	}
	code, _, _ := strings.Cut(resp.Header.Get("X-Lateen-Reason"), ":")
	s := seen{answer: fmt.Sprint(resp.StatusCode), reason: code, again: !resp.Close}
	if resp.StatusCode == 103 { // an answer before the answer
		s = c.read(method)
		s.more = "after 103"
		return s
	}
	if resp.StatusCode < 200 {
		return s
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		s.answer += " cut" + late(err)
		s.again = false
	}
	return s
}

// late marks what had to be given up.
func late(err error) string {
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return " (hangs)"
	}
	return ""
}

// tunnel upgrades, sends, closes its direction, and reads to the end.
func (c *client1) tunnel(path string) seen {
	c.send(head("GET", path) + "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	s := c.read("GET")
	if s.answer != "101" {
		return s
	}
	c.send("ping")
	time.Sleep(30 * time.Millisecond)
	_ = c.CloseWrite()
	rest, err := io.ReadAll(c.in)
	s.more, s.again = fmt.Sprintf("%q", rest), false
	if err != nil {
		s.more += late(err) + " then an error"
	}
	return s
}

func (c *client1) follow(path string) bool {
	c.send(head("GET", path) + "\r\n")
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == 200 && string(body) == "ok"
}
