package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// Names of the Secrets in the system namespace, as Istio has them.
const (
	// PluggedSecret holds key material that somebody plugs in; it goes before
	// SelfSecret.
	PluggedSecret = "cacerts"
	// SelfSecret holds the root that the mesh made for itself.
	SelfSecret = "istio-ca-secret"
)

// Secrets is where the replicas of a control plane find the same keys.
type Secrets interface {
	// Secret reads a Secret of the system namespace; data is nil where it does not
	// exist.
	Secret(ctx context.Context, name string) (data map[string][]byte, err error)
	// CreateSecret writes a Secret that does not exist yet; created is false where
	// another replica was first.
	CreateSecret(ctx context.Context, name string, data map[string][]byte) (created bool, err error)
	// UpdateSecret replaces the data of a Secret that exists.
	UpdateSecret(ctx context.Context, name string, data map[string][]byte) error
}

// Keeper keeps an Authority signing with what the Secrets of the cluster hold.
// Its methods are safe for concurrent use.
type Keeper struct {
	// immutable
	secrets   Secrets
	authority *Authority
	terms     Terms
	metrics   *Metrics
	log       *slog.Logger
	failed    func(error)
}

// KeeperOptions configure a Keeper. Secrets is required.
type KeeperOptions struct {
	Secrets Secrets
	Terms   Terms
	Metrics *Metrics // nil: none
	Log     *slog.Logger
	// Failed is told what is wrong with the key material while the last good one
	// acts, and nil when it is well again; nil: nobody.
	Failed func(error)
}

// Keep reads the key material: what is plugged in, else the mesh's own root,
// which is made once, by whichever replica is first. Plugged-in material that does
// not hold is an error: a mesh that signed with another root instead would cut off
// every workload.
func Keep(ctx context.Context, o KeeperOptions) (*Keeper, error) {
	if o.Terms.Now == nil {
		o.Terms.Now = time.Now
	}
	if o.Terms.TrustDomain == "" {
		o.Terms.TrustDomain = spiffe.DefaultTrustDomain
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	k := &Keeper{secrets: o.Secrets, terms: o.Terms, metrics: o.Metrics, log: o.Log, failed: o.Failed}
	issuer, err := k.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if k.authority, err = NewAuthority(issuer, k.terms); err != nil {
		return nil, err
	}
	k.metrics.loaded(issuer)
	k.log.Info("certificate authority ready", "self_signed", issuer.SelfSigned(), "subject", issuer.cert.Subject, "expires", issuer.notAfter)
	return k, nil
}

// Authority is what the keeper keeps.
func (k *Keeper) Authority() *Authority { return k.authority }

// read finds the key material.
func (k *Keeper) read(ctx context.Context) (*Issuer, error) {
	now := k.terms.Now()
	data, err := k.secrets.Secret(ctx, PluggedSecret)
	if err != nil {
		return nil, err
	}
	if data != nil {
		i, err := ParseIssuer(data, now)
		if err != nil {
			return nil, fmt.Errorf("the Secret %s: %w", PluggedSecret, err)
		}
		return i, nil
	}
	if data, err = k.secrets.Secret(ctx, SelfSecret); err != nil {
		return nil, err
	}
	if data == nil {
		if data, err = k.create(ctx, now); err != nil {
			return nil, err
		}
	}
	i, err := ParseIssuer(data, now)
	if err != nil {
		return nil, fmt.Errorf("the Secret %s: %w", SelfSecret, err)
	}
	return i, nil
}

// create makes the mesh's own root, unless another replica has done so meanwhile.
// Where the Secret of a running mesh was removed, it is written again: another root
// would cut off every workload.
func (k *Keeper) create(ctx context.Context, now time.Time) (data map[string][]byte, err error) {
	if k.authority != nil && k.authority.Issuer().SelfSigned() {
		data, err = k.authority.Issuer().parts()
	} else {
		data, err = newRoot(k.terms.TrustDomain, nil, now)
	}
	if err != nil {
		return nil, err
	}
	created, err := k.secrets.CreateSecret(ctx, SelfSecret, data)
	if err != nil || created {
		return data, err
	}
	if data, err = k.secrets.Secret(ctx, SelfSecret); err == nil && data == nil {
		err = fmt.Errorf("the Secret %s vanished while it was made", SelfSecret)
	}
	return data, err
}

// Run reads the key material again at every token of changes, and every period,
// until ctx ends. What does not hold is reported, and the last good one goes on.
func (k *Keeper) Run(ctx context.Context, changes <-chan struct{}, period time.Duration) error {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
		case <-t.C:
		}
		k.failed(k.Reload(ctx))
	}
}

// Reload reads the key material once. An error leaves the authority as it is.
func (k *Keeper) Reload(ctx context.Context) error {
	issuer, err := k.read(ctx)
	if err == nil {
		old := k.authority.Issuer()
		if !old.SelfSigned() && issuer.SelfSigned() {
			err = fmt.Errorf("the Secret %s is gone; its keys act until the control plane restarts, and then the mesh's own root would: bring the Secret back, or rotate the root first", PluggedSecret)
		} else if issuer.Same(old) {
			return nil
		}
	}
	if err == nil {
		err = k.authority.Replace(issuer)
	}
	if err != nil {
		k.metrics.loads.WithLabelValues("error").Inc()
		if ctx.Err() == nil {
			k.log.Error("the authority's key material was not taken; the last good one acts", "err", err)
		}
		return err
	}
	k.metrics.loaded(issuer)
	k.log.Info("the authority signs with new key material", "self_signed", issuer.SelfSigned(), "subject", issuer.cert.Subject, "expires", issuer.notAfter)
	return nil
}

// renewBefore is the part of a root's life, at its end, in which a new
// certificate is made for its key: a fifth, as Istio's.
const renewBefore = 5

// Renew makes a new certificate for the mesh's own root when the old one comes to
// its end. The key stays, so that certificates signed before are good under the
// new root too. One replica, the leader, calls it from time to time.
func (k *Keeper) Renew(ctx context.Context) error {
	issuer := k.authority.Issuer()
	if !issuer.SelfSigned() {
		return nil // whoever plugged it in renews it
	}
	now, c := k.terms.Now(), issuer.cert
	if c.NotAfter.Sub(now) > c.NotAfter.Sub(c.NotBefore)/renewBefore {
		return nil
	}
	data, err := k.secrets.Secret(ctx, SelfSecret)
	if err != nil {
		return err
	}
	current, err := ParseIssuer(data, now)
	if err != nil {
		return err
	}
	if !current.cert.Equal(c) {
		return k.Reload(ctx) // renewed already
	}
	if data, err = newRoot(k.terms.TrustDomain, issuer.key, now); err != nil {
		return err
	}
	if err := k.secrets.UpdateSecret(ctx, SelfSecret, data); err != nil {
		return fmt.Errorf("renewing the root: %w", err)
	}
	k.log.Info("the root was renewed for its key", "old_expiry", c.NotAfter)
	return k.Reload(ctx)
}

// CheckRoots tells whether text holds certificates of authorities and nothing
// else: what a user gives as trusted roots.
func CheckRoots(text []byte) error {
	certs, err := parseCerts(text)
	if err != nil {
		return err
	}
	for _, c := range certs {
		if !c.IsCA {
			return fmt.Errorf("%q is not the certificate of an authority", c.Subject)
		}
	}
	return nil
}

// Pool makes a pool of PEM roots.
func Pool(roots []byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(roots) {
		return nil, errors.New("no roots")
	}
	return p, nil
}
