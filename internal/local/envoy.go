package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// agentSpec describes an agent and its Envoy to the process that runs them.
type agentSpec struct {
	Envoy     string          `json:"envoy"`
	XDS       string          `json:"xds"`
	TokenFile string          `json:"tokenFile"`
	Node      json.RawMessage `json:"node"`
	Dir       string          `json:"dir"`
}

// startEnvoy starts an agent with a real Envoy in the pod's namespace.
func (p *place) startEnvoy(ctx context.Context) (*remote, error) {
	return p.startRemote(ctx, p.at.Namespace.Start, func(dir string, out io.Writer) (func() *exec.Cmd, error) {
		node, err := p.nodeJSON(Envoy)
		if err != nil {
			return nil, err
		}
		file, err := writeJSON(dir, "agent.json", agentSpec{
			Envoy: p.runtime.o.EnvoyPath, XDS: p.runtime.xds(), TokenFile: filepath.Join(dir, tokenFile), Node: node, Dir: dir,
		})
		if err != nil {
			return nil, err
		}
		return func() *exec.Cmd {
			cmd := p.runtime.role(p.runtime.o.Roles.Agent, file)
			cmd.Stdout, cmd.Stderr = out, out
			return cmd
		}, nil
	})
}

// RunAgent is the role of a process that startEnvoy starts: it keeps the Envoy
// that the file describes running until ctx ends.
func RunAgent(ctx context.Context, file string, stdout, stderr io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s agentSpec
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var node corev3.Node
	if err := protojson.Unmarshal(s.Node, &node); err != nil {
		return fmt.Errorf("%s: node: %w", file, err)
	}
	token := func() (string, error) {
		text, err := os.ReadFile(s.TokenFile)
		return strings.TrimSpace(string(text)), err
	}
	return agent.Run(ctx, agent.Options{
		EnvoyPath: s.Envoy, XDS: s.XDS, Token: token, Node: &node, TrustDomain: trustDomain, RuntimeDir: s.Dir,
		Concurrency: 1, Drain: time.Second, Stdout: stdout, Stderr: stderr, Log: ops.NewLogger(stderr, ops.Text, nil),
	})
}
