package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// topFlags are the flags of top.
type topFlags struct {
	trafficFlags
	every time.Duration
	once  bool
}

func newTopCommand(env *Env) *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the busiest workloads",
		Long: `Watch the workloads of the mesh, the busiest first, with the numbers of the last
15 seconds. It ends with Ctrl-C.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("window") {
				f.window = 15 * time.Second
			}
			return f.run(cmd.Context(), env)
		},
	}
	f.register(env, cmd)
	cmd.Flags().DurationVar(&f.every, "every", 2*time.Second, "pause between two looks")
	cmd.Flags().BoolVar(&f.once, "once", false, "look once")
	return cmd
}

// clear makes a terminal's screen empty (ECMA-48: CUP, ED).
const clearScreen = "\x1b[H\x1b[2J"

func (f *topFlags) run(ctx context.Context, env *Env) error {
	if f.output != "" {
		return usage("top has no output formats; `lateen stat -o json` has")
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	for {
		parts, err := ask[[]workloadLine](ctx, h, "/api/workloads", f.query())
		switch {
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return h.Explain(env, err)
		}
		list := mergeLines(parts, func(w workloadLine) string { return w.Namespace + "/" + w.Name }, func(a, b workloadLine) workloadLine {
			a.Inbound, a.Outbound = busier(a.Inbound, b.Inbound), busier(a.Outbound, b.Outbound)
			return a
		})
		slices.SortStableFunc(list, func(a, b workloadLine) int { return cmp.Compare(b.rate(), a.rate()) })
		var page bytes.Buffer
		if !f.once {
			page.WriteString(clearScreen)
			fmt.Fprintf(&page, "%s  last %s\n\n", time.Now().Format(time.TimeOnly), f.window)
		}
		if err := printWorkloads(&page, list); err != nil {
			return err
		}
		if _, err := env.Out.Write(page.Bytes()); err != nil || f.once {
			return err
		}
		select {
		case <-time.After(f.every):
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *workloadLine) rate() float64 {
	r := w.Inbound
	if w.Gateway || r == nil {
		r = w.Outbound
	}
	if r == nil {
		return 0
	}
	return r.Rate
}
