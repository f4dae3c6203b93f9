package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// systemSecrets are the Secrets of the system namespace.
type systemSecrets struct {
	client    *kube.Client
	namespace string
}

// Secret implements ca.Secrets.
func (s systemSecrets) Secret(ctx context.Context, name string) (map[string][]byte, error) {
	d, err := s.client.Secret(ctx, s.namespace, name)
	if errors.Is(err, kube.ErrNotFound) {
		return nil, nil
	}
	if err == nil && d.Data == nil {
		d.Data = map[string][]byte{} // it exists
	}
	return d.Data, err
}

// CreateSecret implements ca.Secrets.
func (s systemSecrets) CreateSecret(ctx context.Context, name string, data map[string][]byte) (bool, error) {
	err := s.client.CreateSecret(ctx, kube.Document{Namespace: s.namespace, Name: name, Type: "istio.io/ca-root", Data: data})
	if errors.Is(err, kube.ErrExists) {
		return false, nil
	}
	return err == nil, err
}

// UpdateSecret implements ca.Secrets.
func (s systemSecrets) UpdateSecret(ctx context.Context, name string, data map[string][]byte) error {
	d, err := s.client.Secret(ctx, s.namespace, name)
	if err != nil {
		return err
	}
	d.Data = data
	return s.client.UpdateSecret(ctx, d)
}

// certifier brings requests to Kubernetes' signers.
type certifier struct{ client *kube.Client }

// Certify implements ca.Certifier.
func (c certifier) Certify(ctx context.Context, signer string, csrPEM []byte, lifetime time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, signerTimeout)
	defer cancel()
	return c.client.Sign(ctx, signer, csrPEM, lifetime)
}

// signerTimeout is what a signer of Kubernetes gets; proxies ask again.
const signerTimeout = 30 * time.Second

// authority is whoever signs, and what keeps it current.
type authority struct {
	ca.Signer
	keeper   *ca.Keeper   // nil with signers of Kubernetes
	delegate *ca.Delegate // nil with keys of our own
	log      *slog.Logger

	// Of a delegate only.
	roots func(context.Context) ([]ca.SignerRoots, error)
	mesh  atomic.Pointer[meshconfig.MeshConfig]
	poke  chan struct{} // one slot: mesh changed
}

// newAuthority takes the keys of the cluster, or Kubernetes' signers.
func newAuthority(ctx context.Context, o Options, client *kube.Client, domain string, mc *meshconfig.MeshConfig, metrics *ca.Metrics) (*authority, error) {
	terms := ca.Terms{TrustDomain: domain, Lifetime: o.CertificateLifetime, Longest: o.LongestLifetime}
	a := &authority{log: ops.Scope(o.Log, "ca"), poke: make(chan struct{}, 1)}
	if o.Signer == "" {
		keeper, err := ca.Keep(ctx, ca.KeeperOptions{
			Secrets: systemSecrets{client, o.Namespace}, Terms: terms, Metrics: metrics, Log: a.log,
		})
		if err != nil {
			return nil, err
		}
		a.Signer, a.keeper = keeper.Authority(), keeper
		a.follow(mc)
		return a, nil
	}
	a.roots = func(ctx context.Context) ([]ca.SignerRoots, error) {
		return delegateRoots(ctx, client, a.mesh.Load(), o.Signer)
	}
	a.mesh.Store(mc)
	roots, published := a.roots(ctx)
	delegate, err := ca.NewDelegate(ca.DelegateOptions{Certifier: certifier{client}, Signer: o.Signer, Terms: terms, Roots: roots})
	if err != nil {
		return nil, errors.Join(err, published)
	}
	a.Signer, a.delegate = delegate, delegate
	return a, nil
}

// trustDomain is that of the flags, else the mesh's.
func trustDomain(o Options, mc *meshconfig.MeshConfig) string {
	if o.TrustDomain != "" {
		return o.TrustDomain
	}
	return mc.GetTrustDomain()
}

// signerRoots reads MeshConfig.caCertificates.
func signerRoots(mc *meshconfig.MeshConfig) []ca.SignerRoots {
	var list []ca.SignerRoots
	for _, c := range mc.GetCaCertificates() {
		if pem := c.GetPem(); pem != "" {
			list = append(list, ca.SignerRoots{Signers: c.GetCertSigners(), PEM: []byte(pem)})
		}
	}
	return list
}

// follow takes over the roots that MeshConfig says to trust. Those that do not hold
// are reported, and the last good ones act.
func (a *authority) follow(mc *meshconfig.MeshConfig) {
	if a.delegate != nil {
		a.mesh.Store(mc)
		select {
		case a.poke <- struct{}{}:
		default:
		}
		return
	}
	var anchors []byte
	for i, r := range signerRoots(mc) {
		if err := ca.CheckRoots(r.PEM); err != nil {
			a.log.Error("the trusted roots of the mesh's configuration were not taken; the last good ones act", "err", fmt.Errorf("caCertificates[%d]: %w", i, err))
			return
		}
		anchors = append(append(anchors, r.PEM...), '\n')
	}
	if err := a.keeper.Authority().Trust(anchors); err != nil {
		a.log.Error("the trusted roots of the mesh's configuration were not taken; the last good ones act", "err", err)
	}
}

// retrust takes over the roots of Kubernetes' signers.
func (a *authority) retrust(ctx context.Context) error {
	roots, published := a.roots(ctx)
	if err := a.delegate.Trust(roots); err != nil {
		return errors.Join(err, published)
	}
	return nil
}

// reloadPeriod bounds how long a missed change of a Secret stays unseen.
const reloadPeriod = time.Minute

// run keeps the keys current until ctx ends.
func (a *authority) run(ctx context.Context, client *kube.Client, namespace string) error {
	if a.keeper == nil {
		return every("roots of the signers", bundlePeriod, a.poke, a.log, a.retrust)(ctx)
	}
	changes := make(chan struct{}, 1)
	follow := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			return client.FollowSecret(ctx, namespace, name, func(*kube.Document) {
				select {
				case changes <- struct{}{}:
				default:
				}
			})
		}
	}
	return together(ctx, follow(ca.PluggedSecret), follow(ca.SelfSecret), func(ctx context.Context) error {
		return a.keeper.Run(ctx, changes, reloadPeriod)
	})
}
