package kube

import (
	"context"
	"fmt"
	"time"

	certificates "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// minSigned is the shortest lifetime that the CSR API takes
// (spec.expirationSeconds).
const minSigned = 10 * time.Minute

// Sign has a signer of Kubernetes' CSR API sign a request: it creates a
// CertificateSigningRequest, approves it, waits for the certificate and removes
// the object. The certificate is for servers and clients, as workloads are both.
// chain is PEM, the leaf first, as the signer gives it. lifetime is a wish, at
// least ten minutes.
func (c *Client) Sign(ctx context.Context, signer string, csr []byte, lifetime time.Duration) (chain []byte, err error) {
	seconds := int32(max(lifetime, minSigned) / time.Second)
	api := c.typed.CertificatesV1().CertificateSigningRequests()
	ctx = c.context(ctx)
	made, err := api.Create(ctx, &certificates.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-workload-"},
		Spec: certificates.CertificateSigningRequestSpec{
			Request: csr, SignerName: signer, ExpirationSeconds: &seconds,
			Usages: []certificates.KeyUsage{certificates.UsageDigitalSignature, certificates.UsageKeyEncipherment, certificates.UsageServerAuth, certificates.UsageClientAuth},
		},
	}, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil {
		return nil, explain(err, "asking the signer %s", signer)
	}
	defer func() {
		// The controller manager removes what is left behind, after an hour or a day.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		if err := api.Delete(ctx, made.Name, metav1.DeleteOptions{}); err != nil {
			c.log.Warn("a CertificateSigningRequest was not removed", "name", made.Name, "err", err)
		}
	}()
	made.Status.Conditions = append(made.Status.Conditions, certificates.CertificateSigningRequestCondition{
		Type: certificates.CertificateApproved, Status: corev1.ConditionTrue,
		Reason: "LateenRA", Message: "the workload's identity was checked by the mesh's control plane",
	})
	approved, err := api.UpdateApproval(ctx, made.Name, made, metav1.UpdateOptions{FieldManager: FieldManager})
	if err != nil {
		return nil, explain(err, "approving CertificateSigningRequest %s of the signer %s", made.Name, signer)
	}
	return c.signed(ctx, approved, signer)
}

// signed waits for the certificate of an approved request.
func (c *Client) signed(ctx context.Context, csr *certificates.CertificateSigningRequest, signer string) ([]byte, error) {
	api := c.typed.CertificatesV1().CertificateSigningRequests()
	for {
		w, err := api.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", csr.Name).String(), ResourceVersion: csr.ResourceVersion})
		if err != nil {
			return nil, explain(err, "waiting for the certificate of the signer %s", signer)
		}
		chain, again, err := fromWatch(ctx, w, signer)
		w.Stop()
		if !again {
			return chain, err
		}
		if csr, err = api.Get(ctx, csr.Name, metav1.GetOptions{}); err != nil {
			return nil, explain(err, "waiting for the certificate of the signer %s", signer)
		}
		if chain, done, err := outcome(csr, signer); done {
			return chain, err
		}
	}
}

// fromWatch waits for the outcome; again is true where the watch ended before it.
func fromWatch(ctx context.Context, w watch.Interface, signer string) (chain []byte, again bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return nil, false, fmt.Errorf("the signer %s has not signed: %w", signer, context.Cause(ctx))
		case e, ok := <-w.ResultChan():
			if !ok || e.Type == watch.Error {
				return nil, true, nil
			}
			csr, ok := e.Object.(*certificates.CertificateSigningRequest)
			if !ok {
				continue // a bookmark
			}
			if chain, done, err := outcome(csr, signer); done {
				return chain, false, err
			}
		}
	}
}

// outcome tells whether a request was signed, denied or has failed.
func outcome(csr *certificates.CertificateSigningRequest, signer string) (chain []byte, done bool, err error) {
	for _, cond := range csr.Status.Conditions {
		if cond.Type == certificates.CertificateDenied || cond.Type == certificates.CertificateFailed {
			return nil, true, fmt.Errorf("the signer %s: %s: %s: %s", signer, cond.Type, cond.Reason, cond.Message)
		}
	}
	return csr.Status.Certificate, len(csr.Status.Certificate) > 0, nil
}
