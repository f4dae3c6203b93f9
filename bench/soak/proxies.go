package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/bench/peer"
	"github.com/lateen-mesh/lateen/bench/proc"
)

const (
	// poolIdle is when a proxy closes its unused connections to servers.
	poolIdle = 5 * time.Second
	// drainTime is what connections get after a change of their listener: longer than
	// any session.
	drainTime = 15 * time.Second
)

// sidecar is one proxy under test.
type sidecar struct {
	name  string
	id    string
	admin netip.AddrPort
	proc  *proc.Process
}

// build builds lateen-proxy as it is shipped.
func build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "lateen-proxy")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-o", path, "github.com/lateen-mesh/lateen/cmd/lateen-proxy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building lateen-proxy: %w: %s", err, out)
	}
	return path, nil
}

func nodeID(account string) string {
	return "sidecar~10.244.0.1~" + account + "-0.default~default.svc.cluster.local"
}

// startSidecar starts a proxy with a service account.
func startSidecar(dir, program, socket, account string, admin netip.AddrPort) (*sidecar, error) {
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("soak"), 0o600); err != nil {
		return nil, err
	}
	bootstrap, err := json.MarshalIndent(m{
		"xds": "unix://" + socket, "tokenFile": token, "admin": admin.String(), "logLevel": "warning", "changeDrainSeconds": int(drainTime.Seconds()),
		"node": m{"id": nodeID(account), "cluster": account + ".default", "metadata": m{
			"NAME": account + "-0", "NAMESPACE": "default", "WORKLOAD_NAME": account, "SERVICE_ACCOUNT": account, "CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local",
			"LABELS": m{"app": account, "version": "v1", "service.istio.io/canonical-name": account, "service.istio.io/canonical-revision": "v1"},
		}},
	}, "", " ")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, account+".json")
	if err := os.WriteFile(path, bootstrap, 0o600); err != nil {
		return nil, err
	}
	s := &sidecar{name: account, id: nodeID(account), admin: admin}
	s.proc, err = proc.Start(proc.Spec{Name: account, Args: []string{program, "run", "--config", path}, Log: filepath.Join(dir, account+".log")})
	if err != nil {
		return nil, err
	}
	return s, s.proc.WaitFor(30*time.Second, func() error {
		_, err := s.page("/ready")
		return err
	})
}

var adminClient = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// page reads one of the proxy's admin pages.
func (s *sidecar) page(path string) (string, error) {
	resp, err := adminClient.Get("http://" + s.admin.String() + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.200s", path, resp.StatusCode, text)
	}
	return string(text), err
}

// stats reads the proxy's counters.
func (s *sidecar) stats() (map[string]int64, error) {
	text, err := s.page("/stats")
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil { // histograms are no counters
			out[name] = n
		}
	}
	return out, nil
}

// freePorts fills in where the proxies listen.
func (p *ports) free() error {
	list, err := peer.FreePorts(9)
	if err != nil {
		return err
	}
	for i, to := range []*netip.AddrPort{&p.http, &p.edge, &p.tcp, &p.extra, &p.mesh, &p.meshTCP, &p.closed, &p.adminOut, &p.adminIn} {
		*to = list[i]
	}
	return nil
}
