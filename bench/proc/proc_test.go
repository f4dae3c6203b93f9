package proc

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseStatus(t *testing.T) {
	m, err := parseStatus("Name:\tx\nVmRSS:\t   6340 kB\nRssAnon:\t   1024 kB\nRssFile:\t 5 kB\n")
	if err != nil || m != (Memory{RSS: 6340 << 10, Anon: 1 << 20}) {
		t.Errorf("%+v, %v", m, err)
	}
	for _, text := range []string{"", "VmRSS:\tmuch\n"} {
		if _, err := parseStatus(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := Start(Spec{Name: "busy", Args: []string{"sh", "-c", "echo started; while :; do :; done"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	// Until its program is there, it may have no time to tell.
	before := time.Duration(-1)
	err = p.WaitFor(10*time.Second, func() error {
		now, err := p.CPU()
		if err == nil && before < 0 {
			before = now
		}
		if err == nil && now-before < 20*time.Millisecond {
			return errIdle
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if m, err := p.Memory(); err != nil || m.RSS == 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if p.Err() != nil || !strings.Contains(p.Tail(), "started") {
		t.Errorf("%v, %q", p.Err(), p.Tail())
	}
	p.Stop()
	if p.Err() == nil {
		t.Error("it ended and nobody says so")
	}
	if err := p.WaitFor(time.Minute, func() error { return errIdle }); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("waiting for a process that has ended: %v", err)
	}
}

type idleError struct{}

func (idleError) Error() string { return "idle" }

var errIdle = idleError{}
