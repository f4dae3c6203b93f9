package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
)

// Env is what a command sees of the process.
type Env struct {
	Out, Err io.Writer
	Getenv   func(string) string
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
