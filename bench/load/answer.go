package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// answer follows one HTTP/1.1 answer with a Content-Length through the reads that
// it comes in.
type answer struct {
	head []byte // a head that is not whole yet
	left int    // bytes of the body that are missing
	body bool
}

const longestHead = 16 << 10

var errFraming = errors.New("an answer without Content-Length")

// take reads b. done says that the answer is complete; one answer is under way at
// a time, so more bytes are an error.
func (a *answer) take(b []byte) (done bool, err error) {
	if !a.body {
		a.head = append(a.head, b...)
		end := bytes.Index(a.head, []byte("\r\n\r\n"))
		if end < 0 {
			if len(a.head) > longestHead {
				return false, errors.New("an answer's head has no end")
			}
			return false, nil
		}
		n, err := parseHead(a.head[:end+2])
		if err != nil {
			return false, err
		}
		b = a.head[end+4:]
		a.left, a.body = n, true
	}
	a.left -= len(b)
	switch {
	case a.left > 0:
		return false, nil
	case a.left < 0:
		return false, errors.New("more bytes than the answer has")
	}
	a.head, a.body = a.head[:0], false
	return true, nil
}

// parseHead checks the status and returns the body's length.
func parseHead(head []byte) (int, error) {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return 0, fmt.Errorf("answered %q", line)
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
			if err != nil || n < 0 {
				return 0, errFraming
			}
			return n, nil
		}
	}
	return 0, errFraming
}
