package scrape

import (
	"bufio"
	"bytes"
	"io"
)

var (
	endMark   = []byte("# EOF")
	unitMark  = []byte("# UNIT ")
	typeMark  = []byte("# TYPE ")
	exemplar  = []byte(" # {")
	openKinds = map[string]string{"unknown": "untyped", "info": "gauge", "stateset": "gauge", "gaugehistogram": "untyped"}
)

// copyLines copies a page without its end mark, and ends its last line.
func copyLines(w io.Writer, r io.Reader) error {
	return eachLine(r, func(line []byte) error {
		if bytes.Equal(bytes.TrimSpace(line), endMark) {
			return nil
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
		if line[len(line)-1] != '\n' {
			_, err := w.Write([]byte("\n"))
			return err
		}
		return nil
	})
}

// eachLine calls f for each line, with its end. A line may be longer than the buffer.
func eachLine(r io.Reader, f func(line []byte) error) error {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			if ferr := f(line); ferr != nil {
				return ferr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// toText makes Prometheus' text form of OpenMetrics, for an application that answers so
// although it was asked for text: exemplars, units and the end mark go, and kinds that
// the text form does not have become kinds that it has.
func toText(r io.Reader) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() { // ends with r, or when pr is closed
		pw.CloseWithError(eachLine(r, func(line []byte) error {
			if line = textLine(line); line == nil {
				return nil
			}
			_, err := pw.Write(line)
			return err
		}))
	}()
	return pr
}

// textLine converts one line; nil: it goes.
func textLine(line []byte) []byte {
	switch {
	case bytes.Equal(bytes.TrimSpace(line), endMark), bytes.HasPrefix(line, unitMark):
		return nil
	case bytes.HasPrefix(line, typeMark):
		at := bytes.LastIndexByte(bytes.TrimRight(line, " \r\n"), ' ')
		if kind, ok := openKinds[string(bytes.TrimSpace(line[at+1:]))]; ok {
			return append(append(bytes.Clone(line[:at+1]), kind...), '\n')
		}
		return line
	case bytes.HasPrefix(line, []byte("#")):
		return line
	}
	if at := outsideQuotes(line, exemplar); at >= 0 {
		return append(bytes.Clone(line[:at]), '\n')
	}
	return line
}

// outsideQuotes finds mark where it is not within a label's value; -1: nowhere.
func outsideQuotes(line, mark []byte) int {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case quoted && line[i] == '\\':
			i++
		case line[i] == '"':
			quoted = !quoted
		case !quoted && bytes.HasPrefix(line[i:], mark):
			return i
		}
	}
	return -1
}
