package cli

import (
	"slices"
	"strings"
)

// valued are the flags that people set before the command, as kubectl's and
// istioctl's habits are, and that take a value.
var valued = []string{"--context", "--kubeconfig", "-c", "--istioNamespace", "-i", "--namespace", "-n", "--name", "--revision", "--output", "-o"}

// leadingFlags moves flags that stand before the command behind it, where they are
// looked for: `lateen -n test proxy-status` is `lateen proxy-status -n test`.
func leadingFlags(args []string) []string {
	i := 0
	for i < len(args) && strings.HasPrefix(args[i], "-") {
		name, _, joined := strings.Cut(args[i], "=")
		if !slices.Contains(valued, name) {
			break // of the root itself, or unknown: it says so
		}
		if i++; !joined {
			i++
		}
	}
	if i == 0 || i >= len(args) {
		return args
	}
	flags, rest := args[:i], args[i:]
	end := slices.Index(rest, "--")
	if end < 0 {
		end = len(rest)
	}
	return slices.Concat(rest[:end], flags, rest[end:])
}
