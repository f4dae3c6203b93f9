package controlplane

import (
	"context"
	"fmt"
	"net"
	"slices"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// serveGRPC serves xDS, and to those that must say who they are the certificate
// service too.
func (cp *ControlPlane) serveGRPC(l net.Listener, authenticated bool) func(context.Context) error {
	return func(ctx context.Context) error {
		g := grpc.NewServer(server.GRPCOptions()...)
		var auth server.Authenticator
		if authenticated {
			auth = tokenAuth{cp.tokens}
			cp.Observe(g, func(ctx context.Context) (string, error) {
				w, err := cp.tokens.Authenticate(ctx)
				return w.Namespace, err
			})
			ca.NewService(cp.authority, cp.tokens, nil, cp.log.With("scope", "ca")).Register(g)
		}
		cp.XDS(auth).Register(g)
		stop := context.AfterFunc(ctx, g.Stop)
		defer stop()
		if err := g.Serve(l); err != nil && ctx.Err() == nil {
			return fmt.Errorf("xDS at %s: %w", l.Addr(), err)
		}
		return nil
	}
}

// XDS makes a server of the engine's resources. Without an authenticator anybody
// may ask, and gets no secrets: gateways' keys are for those who prove that they
// are the gateway.
func (c *Core) XDS(auth server.Authenticator) *server.Server {
	o := server.Options{
		Owner: c.engine, Auth: auth, Log: c.log.With("scope", "xds"), Now: c.now,
		PushTypes: push.PushOrder(), FullTypes: push.FullTypes(),
		Gate: build.ListenerType, Warms: map[string]string{build.ClusterType: build.EndpointType},
		Names: map[string]string{build.ListenerType: build.RouteType},
		Last:  wire.DemandType,
		Sent:  c.engine.Pushed, Refused: c.engine.Refused,
	}
	if auth == nil {
		o.PushTypes = slices.DeleteFunc(o.PushTypes, func(t string) bool { return t == build.SecretType })
	}
	if c.names {
		// After the listeners, so that an address that a name gets is one that they know.
		o.PushTypes = slices.Insert(o.PushTypes, slices.Index(o.PushTypes, o.Last), wire.NameTableType)
		o.FullTypes = append(o.FullTypes, wire.NameTableType)
		o.Aside = []string{wire.NameTableType}
	}
	return server.New(o)
}

// tokenAuth lets streams in by the mesh's bearer tokens.
type tokenAuth struct{ tokens *ca.Tokens }

func (a tokenAuth) Authenticate(ctx context.Context) (server.Identity, error) {
	w, err := a.tokens.Authenticate(ctx)
	return server.Identity(w), err
}

// progress gives the engine's reports the configuration API's form.
type progress struct{ engine *push.Engine }

func (p progress) Wait(ctx context.Context, revision int64) (configapi.Report, error) {
	r := configapi.Report{Revision: revision, Proxies: []configapi.ProxyReport{}}
	list, generation, err := p.engine.Wait(ctx, revision)
	if err != nil {
		return r, err
	}
	for i := range list {
		r.Proxies = append(r.Proxies, proxyReport(&list[i], generation))
	}
	return r, nil
}

func proxyReport(p *push.ProxyReport, generation int64) configapi.ProxyReport {
	out := configapi.ProxyReport{Proxy: p.Proxy, State: configapi.Pending, Reason: p.Waiting}
	if out.Reason == "" {
		// It has answered for all that it was offered, which is less than it should be.
		out.Reason = "its configuration, which the control plane has not built; its log says why"
	}
	if p.Reached {
		out.State, out.Reason = configapi.InForce, ""
	}
	for _, f := range p.Refusals {
		if f.Revision < generation {
			continue // refused before this change, which did not touch it
		}
		out.State, out.Reason = configapi.Rejected, fmt.Sprintf("%s %s: %s", server.ShortType(f.TypeURL), f.Name, f.Message)
		if !f.Object.IsZero() {
			out.Object = f.Object.Ref.String()
		}
		break
	}
	return out
}
