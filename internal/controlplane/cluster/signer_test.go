package cluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	certificates "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/kube"
)

const signerName = "example.com/mesh"

// sign plays the signer of a cluster until ctx ends: it signs what is approved.
func (b *bed) sign(ctx context.Context, certPEM, keyPEM []byte) error {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return err
	}
	api := b.client.Typed().CertificatesV1().CertificateSigningRequests()
	w, err := api.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	for serial := int64(100); ; serial++ {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch ended")
			}
			csr, ok := e.Object.(*certificates.CertificateSigningRequest)
			if !ok || csr.Spec.SignerName != signerName || len(csr.Status.Certificate) > 0 || len(csr.Status.Conditions) == 0 {
				continue
			}
			block, _ := pem.Decode(csr.Spec.Request)
			req, err := x509.ParseCertificateRequest(block.Bytes)
			if err != nil {
				return err
			}
			der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
				SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(30 * time.Minute), URIs: req.URIs, DNSNames: req.DNSNames,
			}, pair.Leaf, req.PublicKey, pair.PrivateKey)
			if err != nil {
				return err
			}
			csr.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
			if _, err := api.UpdateStatus(ctx, csr, metav1.UpdateOptions{}); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// TestKubernetesSigner: a signer of Kubernetes makes the certificates of workloads
// and of the control plane itself; its roots are those of the mesh's configuration.
func TestKubernetesSigner(t *testing.T) {
	b := newBed(t)
	root, key := selfSigned(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.sign(ctx, root, key) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	m := b.memberWith("one", func(o *Options) { o.Signer = signerName })
	eventually(t, "it says what it lacks", func() bool {
		err := m.health.Ready()
		return err != nil && strings.Contains(err.Error(), "caCertificates") && strings.Contains(err.Error(), "ClusterTrustBundles")
	})
	mesh := "caCertificates:\n- certSigners: [" + signerName + "]\n  pem: |\n    " + strings.ReplaceAll(strings.TrimSpace(string(root)), "\n", "\n    ") + "\n"
	if _, err := b.client.Typed().CoreV1().ConfigMaps("istio-system").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "istio"}, Data: map[string]string{"mesh": mesh},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", m.ready)
	if got := string(m.authority.Roots()); got != string(root) {
		t.Errorf("the roots are %q", got)
	}
	r := &replica{t: t, ports: m.ports}
	err := r.requestAs(m.authority.Roots(), b.token(TokenAudience), "shop", "curl")
	if err != nil {
		t.Error(err)
	}
	if err := r.requestAs(m.authority.Roots(), b.token(TokenAudience), "shop", "admin"); err == nil {
		t.Error("a workload has another's certificate")
	}
	list, err := b.client.Typed().CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) > 0 {
		t.Errorf("requests are left behind: %d, %v", len(list.Items), err)
	}
}

// TestReviewAudience: the API server, too, knows a token for another audience.
func TestReviewAudience(t *testing.T) {
	b := newBed(t)
	for audience, want := range map[string]bool{TokenAudience: true, "https://kubernetes.default.svc": false} {
		who, err := b.client.Review(t.Context(), b.token(audience), []string{TokenAudience})
		if (err == nil) != want || want && (who.Namespace != "shop" || who.ServiceAccount != "curl") || !want && !errors.Is(err, kube.ErrRejected) {
			t.Error(fmt.Errorf("%s: %+v, %w", audience, who, err))
		}
	}
}
