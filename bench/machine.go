package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/bench/peer"
)

// readVersions asks every program what it is.
func (l *lab) readVersions(ctx context.Context) {
	l.versions["Go"] = runtime.Version()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				l.versions["lateen"] = s.Value
			}
		}
	}
	if l.versions["lateen"] == "" {
		l.versions["lateen"] = firstLine(ctx, "git", "describe", "--always", "--dirty")
	}
	for kind, args := range map[string][]string{peer.Envoy: {"--version"}, peer.HAProxy: {"-v"}, peer.Nginx: {"-v"}} {
		if path := l.site.Programs[kind]; path != "" {
			l.versions[kind] = firstLine(ctx, path, args...)
		}
	}
	for name, args := range map[string][]string{"wrk": {"-v"}, "h2load": {"--version"}, cached("fortio"): {"version"}} {
		if path, err := peer.Find(name); err == nil {
			title := name[strings.LastIndexByte(name, '/')+1:]
			l.versions[title] = firstLine(ctx, path, args...)
		}
	}
}

// firstLine is the first line that a program prints, whatever its exit code:
// wrk's is 1.
func firstLine(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" {
			line, _, _ = strings.Cut(line, " Copyright")
			return strings.TrimPrefix(line, name+"  ")
		}
	}
	return fmt.Sprint("unknown: ", err)
}

// machine describes the host.
func machine() string {
	var u unix.Utsname
	kernel := "unknown kernel"
	if err := unix.Uname(&u); err == nil {
		kernel = "Linux " + unix.ByteSliceToString(u.Release[:])
	}
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, %s", runtime.NumCPU(), model, kernel)
}
