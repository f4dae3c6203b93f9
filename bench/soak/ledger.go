package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// ledger counts what became of everything that was tried. Safe for concurrent use.
type ledger struct {
	mu     sync.Mutex
	kinds  map[string]*account // guarded by mu
	faults []string            // guarded by mu: errors of steady traffic, the first ones
}

// account is one kind of traffic.
type account struct {
	Done   int64         `json:"done"`
	Failed int64         `json:"failed"`
	Slow   time.Duration `json:"slowest"`
}

const keptFaults = 100

func newLedger() *ledger { return &ledger{kinds: map[string]*account{}} }

func (l *ledger) account(kind string) *account {
	a := l.kinds[kind]
	if a == nil {
		a = &account{}
		l.kinds[kind] = a
	}
	return a
}

// book notes one try; an error of steady traffic is a fault.
func (l *ledger) book(kind string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(kind)
	a.Slow = max(a.Slow, took)
	if err == nil {
		a.Done++
		return
	}
	a.Failed++
	if len(l.faults) < keptFaults {
		l.faults = append(l.faults, fmt.Sprintf("%s %s after %s: %v", time.Now().Format("15:04:05.000"), kind, took.Round(time.Millisecond), err))
	}
}

// total is the number of tries that went well, and of those that did not.
func (l *ledger) total() (done, failed int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.kinds {
		done += a.Done
		failed += a.Failed
	}
	return done, failed
}

// snapshot copies the accounts and the faults.
func (l *ledger) snapshot() (map[string]account, []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]account{}
	for k, a := range l.kinds {
		out[k] = *a
	}
	return out, slices.Clone(l.faults)
}
