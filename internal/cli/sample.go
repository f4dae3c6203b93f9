package cli

import (
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/samples"
)

func newSampleCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sample NAME [ARG...]",
		Short: "Run one of the sample programs in the foreground",
		Long: `Run one of the sample programs in the foreground, outside any mesh.

Programs: ` + strings.Join(samples.Names(), ", ") + `.
Those that serve HTTP or gRPC take their port as the first argument.`,
		Args:      cobra.MinimumNArgs(1),
		ValidArgs: samples.Names(),
		RunE: func(cmd *cobra.Command, args []string) error {
			log := slog.New(slog.NewTextHandler(env.Out, nil))
			return samples.Run(cmd.Context(), args[0], args[1:], samples.Env(env.Getenv), log)
		},
	}
	cmd.Flags().SetInterspersed(false) // flags after NAME are the program's own
	return cmd
}
