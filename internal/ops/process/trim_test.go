package process

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestTrimmer: stacks that a burst of goroutines has left are given up once, and what
// stays idle after that is no reason to collect again.
func TestTrimmer(t *testing.T) {
	var tr Trimmer
	tr.Look()
	var wg sync.WaitGroup
	stay := make(chan struct{})
	for range 4000 {
		wg.Go(func() { grow(64); <-stay })
	}
	close(stay)
	wg.Wait()
	idle, _ := readIdle()
	if idle < 2*trimStep {
		t.Fatalf("only %d bytes are idle: the test tests nothing", idle)
	}
	collected := 0
	for range 3 {
		if tr.Look() {
			collected++
		}
	}
	if collected != 1 {
		t.Errorf("%d collections", collected)
	}
	// The runtime gives the pages back in the background.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if tr.Look() {
			t.Error("a collection for nothing")
		}
		if now, _ := readIdle(); now < idle/2 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d bytes were idle, %d are", idle, now)
		}
	}
}

// grow makes a goroutine's stack some 16 KiB deep.
func grow(n int) byte {
	var pad [256]byte
	if n == 0 {
		runtime.Gosched()
		return pad[0]
	}
	pad[n%256] = grow(n - 1)
	return pad[n%256]
}
