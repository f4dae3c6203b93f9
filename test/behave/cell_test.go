package behave

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/intercept"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/proxy"
	"github.com/lateen-mesh/lateen/internal/spiffe"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// cell is a pod with the proxy under test.
type cell struct {
	bed  *bed
	role string
	id   nodeFacts
	addr netip.Addr
	ns   *intercept.Namespace
	log  *output // the access log
	stop func()

	ready func(context.Context) error
	state func() ([]byte, error) // the configuration dump
}

// keptCells is how many proxies stay up between cases: each answers every push.
const keptCells = 3

// cell gives the pod for a case: one that is up, or a new one.
func (b *bed) cell(c *testCase) (*cell, error) {
	key := c.node.key(c.role)
	for i, x := range b.cells {
		if x.id.key(x.role) == key {
			b.cells = append(append(b.cells[:i:i], b.cells[i+1:]...), x)
			return x, nil
		}
	}
	if len(b.cells) >= keptCells {
		b.drop(b.cells[0])
	}
	b.pods++
	x := &cell{bed: b, role: c.role, id: c.node, addr: netip.AddrFrom4([4]byte{10, 244, 0, byte(10 + b.pods%200)}), log: &output{}}
	var err error
	if x.ns, err = b.world.pod(x.addr, c.role != roleGateway); err != nil {
		return nil, err
	}
	if b.plane == ours {
		err = x.startOurs()
	} else {
		err = x.startEnvoy()
	}
	if err != nil {
		return nil, err
	}
	b.cells = append(b.cells, x)
	return x, nil
}

// drop stops a cell.
func (b *bed) drop(x *cell) {
	x.stop()
	x.ns.Close()
	for i, c := range b.cells {
		if c == x {
			b.cells = append(b.cells[:i:i], b.cells[i+1:]...)
			return
		}
	}
}

func (x *cell) nodeID() string { return x.node("native").Id }

// node is what the proxy says of itself, as the mesh on one machine has it.
func (x *cell) node(plane string) *corev3.Node {
	kind, mode := "sidecar", "REDIRECT"
	if x.role == roleGateway {
		kind, mode = "router", "NONE"
	}
	labels := map[string]any{}
	for k, v := range x.id.labels {
		labels[k] = v
	}
	meta, err := structpb.NewStruct(map[string]any{
		"NAME": x.id.name, "NAMESPACE": x.id.namespace, "LABELS": labels, "SERVICE_ACCOUNT": x.id.account, "INSTANCE_IPS": x.addr.String(),
		"WORKLOAD_NAME": x.id.name, "OWNER": "kubernetes://apis/apps/v1/namespaces/" + x.id.namespace + "/deployments/" + x.id.name,
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "ISTIO_VERSION": "1.31.0", "INTERCEPTION_MODE": mode, "LATEEN_DATA_PLANE": plane,
	})
	if err != nil {
		panic(err) // of strings alone
	}
	id := strings.Join([]string{kind, x.addr.String(), x.id.name + "." + x.id.namespace, x.id.namespace + ".svc.cluster.local"}, "~")
	n := &corev3.Node{Id: id, Metadata: meta}
	if l := x.id.locality; l.Region != "" {
		n.Locality = &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.Subzone}
	}
	return n
}

func (x *cell) issueToken() (string, error) {
	return x.bed.token.Issue(ca.Workload{Namespace: x.id.namespace, ServiceAccount: x.id.account, Instance: x.id.name}, time.Hour)
}

// startOurs runs our proxy in this process.
func (x *cell) startOurs() error {
	conn, err := grpc.NewClient(x.bed.xds, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	sid, err := spiffe.New(spiffe.DefaultTrustDomain, x.id.namespace, x.id.account)
	if err != nil {
		return err
	}
	id := identity.New(identity.Options{ID: sid, Issuer: identity.NewIssuer(conn, x.issueToken)})
	source, err := client.New(client.Options{Target: x.bed.xds, Token: x.issueToken, Node: x.node("native")})
	if err != nil {
		return err
	}
	p, err := proxy.New(proxy.Options{
		Node: x.node("native"), Sockets: x.ns.Sockets(), Source: source, Secrets: id, AccessLog: x.log, ErrorLog: io.Discard,
		Log: ops.Discard(), DrainTime: time.Second,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = id.Run(ctx) })
	wg.Go(func() {
		if err := p.Run(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "our proxy ended:", err)
		}
	})
	x.stop = func() {
		cancel()
		wg.Wait()
		conn.Close()
	}
	x.ready = func(ctx context.Context) error { return poll(ctx, p.NotReady) }
	x.state = p.ConfigDump
	return nil
}

// startEnvoy runs an agent with a real Envoy in the pod.
func (x *cell) startEnvoy() error {
	path := os.Getenv(envoyVar)
	if _, err := os.Stat(path); err != nil {
		return errNoEnvoy
	}
	dir, err := os.MkdirTemp(x.bed.dir, "e")
	if err != nil {
		return err
	}
	// The agent starts this program, which goes into the pod and becomes Envoy.
	starter := filepath.Join(dir, "envoy")
	script := fmt.Sprintf("#!/bin/sh\n%s=/proc/%d/fd/%d exec /proc/%d/exe \"$@\"\n", enterVar, os.Getpid(), x.ns.File().Fd(), os.Getpid())
	if err := os.WriteFile(starter, []byte(script), 0o700); err != nil {
		return err
	}
	admin := filepath.Join(dir, "admin")
	var errs output
	o := agent.Options{
		EnvoyPath: starter, XDS: x.bed.xds, Token: x.issueToken, Node: x.node("envoy"), RuntimeDir: dir, Admin: "unix://" + admin,
		Status: "-", Metrics: "-", Concurrency: 1, Drain: time.Second, Stdout: x.log, Stderr: &errs, Log: ops.Discard(),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx, o) }()
	x.stop = func() {
		cancel()
		<-done
	}
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", admin)
	}}, Timeout: 5 * time.Second}
	x.ready = func(ctx context.Context) error {
		err := poll(ctx, func() error { return envoyWarm(web) })
		if err != nil {
			select {
			case e := <-done:
				done <- e
				err = errors.Join(err, e)
			default:
			}
			return fmt.Errorf("%w\n%s", err, errs.String())
		}
		return nil
	}
	x.state = func() ([]byte, error) { return adminGet(web, "/config_dump?include_eds") }
	return nil
}

// envoyWarm asks an Envoy whether anything that it has acknowledged is not in force.
func envoyWarm(web *http.Client) error {
	body, err := adminGet(web, "/stats?filter=warming|workers_started|^server.state$|listener_create_success|init_fetch_timeout")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "cluster_manager.warming_clusters", "listener_manager.total_listeners_warming", "server.state":
			if value != "0" {
				return fmt.Errorf("%s is %s", name, value)
			}
		case "listener_manager.workers_started":
			if value != "1" {
				return errors.New("the workers have not started")
			}
		}
	}
	return nil
}

func adminGet(web *http.Client, path string) ([]byte, error) {
	resp, err := web.Get("http://envoy" + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// poll asks until there is no error or ctx ends.
func poll(ctx context.Context, ask func() error) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// warm waits until what was acknowledged acts.
func (x *cell) warm(ctx context.Context) error { return x.ready(ctx) }

// dump writes the proxy's configuration to a file, and says where.
func (x *cell) dump(r *run) string {
	text, err := x.state()
	if err != nil {
		return err.Error()
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, text, "", " ") == nil {
		text = pretty.Bytes()
	}
	dir := filepath.Join(os.TempDir(), "lateen-behave")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	path := filepath.Join(dir, r.c.name+"-"+r.name+".json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err.Error()
	}
	return path
}

// output keeps what a proxy writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// reset forgets what was written.
func (o *output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Reset()
}
