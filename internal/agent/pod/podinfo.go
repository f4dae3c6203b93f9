package pod

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// ParseDownward reads a file of the downward API: lines of KEY="VALUE", where the
// value is quoted as Go quotes strings.
func ParseDownward(text []byte) (map[string]string, error) {
	out := map[string]string{}
	s := bufio.NewScanner(bytes.NewReader(text))
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		key, quoted, ok := bytes.Cut(line, []byte("="))
		if !ok || len(key) == 0 {
			return nil, fmt.Errorf("line %d is not KEY=\"VALUE\"", n)
		}
		value, err := strconv.Unquote(string(quoted))
		if err != nil {
			return nil, fmt.Errorf("line %d: the value of %s is not a quoted string", n, key)
		}
		out[string(key)] = value
	}
	return out, s.Err()
}

// maxLine is above the most that all annotations of an object may hold (256 KiB),
// quoted.
const maxLine = 2 << 20

// readDownward reads such a file; one that is not there holds nothing.
func readDownward(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := ParseDownward(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Watch calls changed whenever the content of one of the files has changed, until
// ctx ends. Kubelet replaces files by links within its sync period of a minute, so
// that looking at them now and then loses nothing. A file that is not there counts as
// empty.
func Watch(ctx context.Context, every time.Duration, changed func(), paths ...string) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := readAll(paths)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := readAll(paths); !bytes.Equal(now, last) {
			last = now
			changed()
		}
	}
}

func readAll(paths []string) []byte {
	var all []byte
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			text = []byte(err.Error()) // what cannot be read any more has changed, once
		}
		all = append(append(all, text...), 0)
	}
	return all
}
