package origin

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// http1 answers HTTP/1.1 requests.
type http1 struct{}

var (
	smallHTTP1 = answerHTTP1(bytes.Repeat([]byte{'x'}, SmallBody))
	largeHTTP1 = answerHTTP1(bytes.Repeat([]byte{'x'}, LargeBody))

	errLongHead = errors.New("a head without end")
	errLength   = errors.New("a length that is none")
)

func answerHTTP1(body []byte) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-store\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
}

const maxHead = 32 << 10

func (http1) receive(c *conn, in []byte) (int, error) {
	used := 0
	for {
		rest := in[used:]
		end := bytes.Index(rest, []byte("\r\n\r\n"))
		if end < 0 {
			if len(rest) > maxHead {
				return 0, errLongHead
			}
			return used, nil
		}
		head := rest[:end+4]
		body, err := bodyLength(head)
		if err != nil {
			return 0, err
		}
		if len(rest) < len(head)+body {
			return used, nil
		}
		used += len(head) + body
		_, target, _ := bytes.Cut(head, []byte{' '})
		switch {
		case bytes.HasPrefix(target, []byte("/echo")):
			c.send(answerHTTP1(head))
		case bytes.HasPrefix(target, []byte("/1m")):
			c.sendShared(largeHTTP1)
		default:
			c.send(smallHTTP1)
		}
	}
}

// bodyLength reads Content-Length of requests that may have one.
func bodyLength(head []byte) (int, error) {
	if head[0] == 'G' {
		return 0, nil
	}
	_, rest, ok := bytes.Cut(bytes.ToLower(head), []byte("\r\ncontent-length:"))
	if !ok {
		return 0, nil
	}
	value, _, _ := bytes.Cut(rest, []byte("\r\n"))
	n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
	if err != nil || n < 0 {
		return 0, errLength
	}
	return n, nil
}
