package identity

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// kept is a Keeper in the process.
type kept struct{ chain, key, roots []byte }

func (k *kept) Load() (chain, key, roots []byte, err error) {
	if k.chain == nil {
		return nil, nil, nil, fs.ErrNotExist
	}
	return k.chain, k.key, k.roots, nil
}

func (k *kept) Save(chain, key, roots []byte) error {
	k.chain, k.key, k.roots = chain, key, roots
	return nil
}

// TestKept: a process that starts again has the certificate without asking, and renews
// it later; one that has expired, or is another's, is not used.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, k := newAuthority(t), &kept{}
		half := func() float64 { return 0.5 }
		run := func(o Options, during func(*Identity)) {
			t.Helper()
			o.Issuer, o.Keep, o.Jitter, o.Log = a, k, half, slog.New(slog.DiscardHandler)
			i := New(o)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- i.Run(ctx) }()
			synctest.Wait()
			during(i)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		run(Options{ID: self}, func(i *Identity) {
			if serial(t, i) != 2 {
				t.Error("no first certificate")
			}
		})
		a.down.Store(true)
		time.Sleep(10 * time.Hour)
		run(Options{ID: self}, func(i *Identity) {
			if serial(t, i) != 2 || a.calls.Load() != 1 {
				t.Errorf("the kept certificate is not used at once: serial %d, %d requests", serial(t, i), a.calls.Load())
			}
			a.down.Store(false)
			time.Sleep(8 * time.Hour) // 14 are left: half of them, and a little earlier
			synctest.Wait()
			if serial(t, i) != 3 {
				t.Errorf("serial %d: it is not renewed", serial(t, i))
			}
		})
		a.down.Store(true)
		other := self
		other.ServiceAccount = "other"
		run(Options{ID: other}, func(i *Identity) {
			if serial(t, i) != 0 {
				t.Error("the certificate of another identity is used")
			}
		})
		time.Sleep(25 * time.Hour)
		run(Options{ID: self}, func(i *Identity) {
			if serial(t, i) != 0 {
				t.Error("an expired certificate is used")
			}
		})
	})
}

// TestRefresh: what is asked for renews soon, once, and no earlier than the jitter says.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		i := New(Options{ID: self, Issuer: a, Jitter: func() float64 { return 0.5 }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- i.Run(ctx) }()
		synctest.Wait()
		i.Refresh()
		i.Refresh()
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if n := a.calls.Load(); n != 1 {
			t.Errorf("%d requests before its time", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := a.calls.Load(); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := a.calls.Load(); n != 2 {
			t.Errorf("%d requests: it goes on renewing", n)
		}
		cancel()
		<-done
	})
}

// TestMemory: the file comes back as it was written, is the user's alone, and is only
// written to a file system in memory.
func TestMemory(t *testing.T) {
	if _, err := NewMemory(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a directory that is not there passes")
	}
	if _, err := NewMemory("/proc"); err == nil {
		t.Error("what is not a file system in memory passes")
	}
	dir, err := os.MkdirTemp("/dev/shm", "identity")
	if err != nil {
		t.Skipf("no file system in memory: %v", err)
	}
	defer os.RemoveAll(dir)
	m, err := NewMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := m.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	i := New(Options{ID: self, Issuer: newAuthority(t), Keep: m})
	if _, err := i.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	chain, key, roots, _ := i.PEM()
	c, k, r, err := m.Load()
	if err != nil || string(c) != string(chain) || string(k) != string(key) || string(r) != string(roots) {
		t.Errorf("%v\n%s\n%s\n%s", err, c, k, r)
	}
	path := filepath.Join(dir, keepFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := m.Load(); err == nil {
		t.Error("half a file passes")
	}
}
