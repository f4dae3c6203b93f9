package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Env is what a command sees of the process.
type Env struct {
	Out, Err io.Writer
	Getenv   func(string) string
	// Environ are all variables, "NAME=VALUE"; nil: the process's.
	Environ []string
}

// environ gives the variables.
func (e *Env) environ() []string {
	if e.Environ == nil {
		return os.Environ()
	}
	return e.Environ
}

// Command is one entry of the table.
type Command struct {
	Name, Summary string
	Run           func(ctx context.Context, env *Env, args []string) error
}

// Exit codes of Main.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 64
)

// Table lists the commands of lateen-proxy.
func Table() []Command {
	return []Command{
		{"run", "run the proxy: identity, configuration by ADS, data plane", runCommand},
		{"wait", "wait until the proxy of this pod is ready, for the hook that holds an application back", waitCommand},
		{"drain", "tell the proxy of this pod that the pod ends, for the hook before its stop", drainCommand},
		{"probe", "ask a page of the proxy of this pod once: exit status 0 if it answers 200", probeCommand},
		{"request", "print an admin page of the proxy of this pod: request GET config_dump", requestCommand},
	}
}

// usageError is a mistake in the command line.
type usageError struct{ error }

// Main runs the command that args name, from the table and others that the
// program adds, and returns the process's exit code; errors have been printed.
func Main(ctx context.Context, env *Env, args []string, table []Command) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		help(env.Out, table)
		return exitOK
	}
	for _, c := range table {
		if c.Name != args[0] {
			continue
		}
		err := c.Run(ctx, env, args[1:])
		var usage usageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitOK
		case errors.As(err, &usage):
			fmt.Fprintf(env.Err, "lateen-proxy %s: %v\n", c.Name, err)
			return exitUsage
		}
		fmt.Fprintf(env.Err, "lateen-proxy %s: %v\n", c.Name, err)
		var coded interface{ ExitCode() int }
		if errors.As(err, &coded) && coded.ExitCode() > 0 {
			return coded.ExitCode()
		}
		return exitError
	}
	fmt.Fprintf(env.Err, "lateen-proxy: there is no command %q; see lateen-proxy help\n", args[0])
	return exitUsage
}

func help(w io.Writer, table []Command) {
	fmt.Fprint(w, "lateen-proxy is the data plane of a Lateen mesh.\n\nCommands:\n")
	for _, c := range table {
		fmt.Fprintf(w, "  %-12s %s\n", c.Name, c.Summary)
	}
	fmt.Fprint(w, "\nlateen-proxy COMMAND --help lists a command's flags.\n")
}
