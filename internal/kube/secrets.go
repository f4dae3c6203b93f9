package kube

import (
	"context"
	"sync"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// secrets watches Secrets in the namespaces in which gateways need credentials,
// and nowhere else. Of what is there, only credentials are held (keepSecret).
type secrets struct {
	// immutable
	c       *Client
	changed func(namespace string)

	running sync.WaitGroup

	mu      sync.Mutex
	watches map[string]*secretWatch // guarded by mu; by namespace
}

type secretWatch struct {
	table *table[*item]
	stop  context.CancelFunc
}

// secretFields leaves out the types that fill namespaces and hold no credential of
// a gateway.
const secretFields = "type!=" + string(corev1.SecretTypeServiceAccountToken) + ",type!=" + string(corev1.SecretTypeDockerConfigJson) + ",type!=helm.sh/release.v1"

func newSecrets(c *Client, changed func(string)) *secrets {
	return &secrets{c: c, changed: changed, watches: map[string]*secretWatch{}}
}

// want starts and stops watches. Only Run's goroutine calls it; ctx is Run's.
func (s *secrets) want(ctx context.Context, namespaces map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ns := range namespaces {
		if s.watches[ns] != nil {
			continue
		}
		k := api.KindNamed(api.KindSecret)
		t := newTable(of(kind[*item]{
			name: "secrets of namespace " + ns, expect: &corev1.Secret{}, strip: stripMeta, keep: keepSecret(k), same: sameItem,
		}, s.c.typed.CoreV1().Secrets(ns), secretFields, ""), s.changed)
		ctx, stop := context.WithCancel(ctx)
		s.watches[ns] = &secretWatch{table: t, stop: stop}
		s.running.Go(func() { t.run(ctx, s.c) })
	}
	for ns, w := range s.watches {
		if !namespaces[ns] {
			w.stop()
			delete(s.watches, ns)
			s.changed(ns)
		}
	}
}

// wait returns when all watches have ended; their context must have.
func (s *secrets) wait() { s.running.Wait() }

// settled tells what is not known yet.
func (s *secrets) settled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		if err := w.table.settled(true); err != nil {
			return err
		}
	}
	return nil
}

func (s *secrets) each(f func(key string, i *item)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		w.table.each(f)
	}
}

// gatewayNamespaces lists where gateways need Secrets: for Istio's Gateways the
// namespaces of the pods that they select, for those of the Gateway API the
// namespaces that their references name.
func gatewayNamespaces(objects []*api.Object, pods *table[*pod]) map[string]bool {
	out := map[string]bool{}
	var selectors []map[string]string
	for _, o := range objects {
		switch spec := o.Spec.(type) {
		case *networking.Gateway:
			for _, srv := range spec.GetServers() {
				if srv.GetTls().GetCredentialName() != "" || len(srv.GetTls().GetCredentialNames()) > 0 {
					selectors = append(selectors, spec.GetSelector())
					break
				}
			}
		case *gatewayv1.Gateway:
			for _, l := range spec.Spec.Listeners {
				if l.TLS == nil {
					continue
				}
				for _, ref := range l.TLS.CertificateRefs {
					ns := o.Meta.Namespace
					if ref.Namespace != nil {
						ns = string(*ref.Namespace)
					}
					out[ns] = true
				}
			}
		}
	}
	if len(selectors) == 0 {
		return out
	}
	pods.each(func(_ string, p *pod) {
		if out[p.workload.Namespace] {
			return
		}
		for _, s := range selectors {
			if registry.Matches(s, p.workload.Labels) {
				out[p.workload.Namespace] = true
				return
			}
		}
	})
	return out
}
