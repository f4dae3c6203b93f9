package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/cli/dump"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/explain"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	home              homeFlags
	from, namespace   string
	method, output    string
	dest              string
	headers           []string
	inbound, tls, tcp bool
}

func newExplainCommand(env *Env) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain URL --from WORKLOAD",
		Short: "Tell where a request goes, and why",
		Long: `Tell what becomes of a request at the proxy of a workload, step by step, and for
each step which candidates lost and why. No request is sent: the proxy's own
evaluator runs over the configuration that the proxy has, with a recorder.`,
		Example: `  lateen explain reviews:9080/reviews/0 --from productpage-v1 --header end-user=jason
  lateen explain http://localhost:8080/productpage --from istio-ingressgateway.istio-system
  lateen explain :9080/ratings/0 --from ratings-v1 --inbound`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, args[0]) },
	}
	f.home.register(env, cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "", "workload, as WORKLOAD or WORKLOAD.NAMESPACE, whose proxy sees the request")
	fl.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the workload")
	fl.StringVarP(&f.method, "method", "X", "GET", "request method")
	fl.StringArrayVarP(&f.headers, "header", "H", nil, "request header NAME=VALUE (or \"NAME: VALUE\"); may be repeated")
	fl.StringVar(&f.dest, "dest", "", "address that the client connects to, IP:PORT; default: what the URL's host resolves to")
	fl.BoolVar(&f.inbound, "inbound", false, "the request comes in for the workload instead of going out")
	fl.BoolVar(&f.tls, "tls", false, "the client speaks the mesh's TLS to this proxy (with --inbound)")
	fl.BoolVar(&f.tcp, "tcp", false, "the bytes are no HTTP")
	fl.StringVarP(&f.output, "output", "o", "", "output format: json")
	return cmd
}

func (f *explainFlags) run(ctx context.Context, env *Env, target string) error {
	if f.from == "" {
		return usage("--from is required: whose proxy sees the request?")
	}
	if f.output != "" && f.output != "json" {
		return usage("unknown output format %q: use json", f.output)
	}
	req, to, err := f.request(target)
	if err != nil {
		return err
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	res, req, err := f.gather(ctx, env, h, req, to)
	if err != nil {
		return h.Explain(env, err)
	}
	e := explain.Explain(res, req)
	if f.output == "json" {
		enc := json.NewEncoder(env.Out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(e)
	}
	_, err = fmt.Fprint(env.Out, e.Text())
	return err
}

// gather finds the proxy, what it should have, and where the request goes to.
func (f *explainFlags) gather(ctx context.Context, env *Env, h home, req explain.Request, to explain.Target) (*explain.Resources, explain.Request, error) {
	instance, err := h.Instance(ctx, f.from, f.namespace)
	if err != nil {
		return nil, req, err
	}
	proxy, p, err := findConnected(ctx, h, instance)
	if err != nil {
		return nil, req, err
	}
	_, ns := splitInstance(instance)
	id := strings.Split(proxy.Node, "~")
	gateway := id[0] == "router"
	if req.Dest, err = f.destination(ctx, p.api, to, ns, id, gateway); err != nil {
		return nil, req, err
	}
	text, err := p.api.ConfigDump(ctx, instance)
	if err != nil {
		return nil, req, err
	}
	list, err := dump.Resources(text)
	if err != nil {
		return nil, req, err
	}
	res := explain.NewResources(gateway)
	for _, r := range list {
		if err := res.Add(r.TypeURL, r.Body); err != nil {
			fmt.Fprintf(env.Err, "lateen: the proxy would refuse a resource: %v\n", err)
		}
	}
	return res, req, nil
}

// request reads the command line into a request without its destination.
func (f *explainFlags) request(target string) (r explain.Request, t explain.Target, err error) {
	if t, err = explain.ParseTarget(target); err != nil {
		return r, t, usage("%v", err)
	}
	r = explain.Request{Method: f.method, Authority: t.Authority, Path: t.Path, Inbound: f.inbound, TCP: f.tcp}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, "=")
		if n, v, colon := strings.Cut(h, ":"); colon && (!ok || len(n) < len(name)) {
			name, value, ok = n, strings.TrimSpace(v), true
		}
		if !ok || name == "" {
			return r, t, usage("header %q is not of the form NAME=VALUE", h)
		}
		if strings.EqualFold(name, "host") {
			r.Authority = value
			continue
		}
		r.Headers = append(r.Headers, [2]string{name, value})
	}
	if f.tls {
		r.TLS, r.ALPNs = true, explain.MeshALPNs()
	}
	return r, t, nil
}

// destination finds what the client connects to: --dest, the workload's own
// address, the gateway's, or what mesh DNS answers for the host.
func (f *explainFlags) destination(ctx context.Context, c *meshapi.Client, to explain.Target, namespace string, id []string, gateway bool) (netip.AddrPort, error) {
	if f.dest != "" {
		a, err := netip.ParseAddrPort(f.dest)
		if err != nil {
			return a, usage("--dest: %v", err)
		}
		return a, nil
	}
	if _, err := netip.ParseAddr(to.Host); err != nil && (f.inbound || gateway) {
		ip, err := netip.ParseAddr(id[1])
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("the proxy's address %q: %w", id[1], err)
		}
		return netip.AddrPortFrom(ip, to.Port), nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	names, err := c.Names(ctx, 0)
	if err != nil {
		return netip.AddrPort{}, err
	}
	dest, err := to.Resolve(names.Hosts, namespace)
	if err != nil {
		return dest, fmt.Errorf("%w; --dest IP:PORT says it", err)
	}
	return dest, nil
}
