package rawio_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

func TestSplice(t *testing.T) {
	from, in := pair(t)
	out, to := pair(t)
	const size = 8 << 20
	go func() {
		defer from.CloseWrite()
		chunk := bytes.Repeat([]byte("lateen!\n"), 8<<10)
		for n := 0; n < size; n += len(chunk) {
			if _, err := from.Write(chunk); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	got := make(chan []byte)
	go func() {
		b, err := io.ReadAll(to)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	s := rawio.NewSplice(out, in)
	var total int64
	for {
		n, _, err := s.Move()
		total += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out.CloseWrite()
	b := <-got
	if total != size || !bytes.Equal(b, bytes.Repeat([]byte("lateen!\n"), size/8)) {
		t.Errorf("moved %d, got %d bytes of %d, or they differ", total, len(b), size)
	}
}

func TestSpliceErrors(t *testing.T) {
	from, in := pair(t)
	out, to := pair(t)
	to.Abort()
	if _, err := from.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	s := rawio.NewSplice(out, in)
	if _, writing, err := s.Move(); err == nil || err == io.EOF || !writing {
		t.Errorf("Move to a reset connection = %v", err)
	}
	in.SetReadDeadline(rawio.Past)
	if _, writing, err := s.Move(); !rawio.IsTimeout(err) || writing {
		t.Errorf("Move with a past deadline = %v", err)
	}
}
