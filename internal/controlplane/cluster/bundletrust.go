package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	meshconfig "istio.io/api/mesh/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/kube"
)

// bundlePeriod is how often ClusterTrustBundles are read: roots change rarely, and
// are made known before they act.
const bundlePeriod = time.Minute

// trustBundles are the versions of the kind, newest first. Clusters serve it from
// Kubernetes 1.33 on, if it is switched on (feature ClusterTrustBundle).
var trustBundles = []schema.GroupVersionResource{
	{Group: "certificates.k8s.io", Version: "v1", Resource: "clustertrustbundles"},
	{Group: "certificates.k8s.io", Version: "v1beta1", Resource: "clustertrustbundles"},
}

// errNoBundles: the cluster does not serve the kind.
var errNoBundles = errors.New("this cluster has no ClusterTrustBundles (certificates.k8s.io)")

// bundleRoots reads the roots that the cluster publishes for a signer: the trust
// bundles with its name in spec.signerName.
func bundleRoots(ctx context.Context, client *kube.Client, signer string) (ca.SignerRoots, error) {
	roots := ca.SignerRoots{Signers: []string{signer}}
	var list *unstructured.UnstructuredList
	err := errNoBundles
	for _, resource := range trustBundles {
		list, err = client.Dynamic().Resource(resource).List(ctx, metav1.ListOptions{FieldSelector: "spec.signerName=" + signer})
		if err == nil {
			break
		}
		if !apierrors.IsNotFound(err) {
			return roots, fmt.Errorf("reading ClusterTrustBundles: %w", err)
		}
		err = errNoBundles
	}
	if err != nil {
		return roots, err
	}
	for i := range list.Items {
		text, _, err := unstructured.NestedString(list.Items[i].Object, "spec", "trustBundle")
		if err != nil {
			return roots, fmt.Errorf("ClusterTrustBundle %s: %w", list.Items[i].GetName(), err)
		}
		roots.PEM = append(append(roots.PEM, text...), '\n')
	}
	if len(list.Items) == 0 {
		return roots, fmt.Errorf("no ClusterTrustBundle has the signer %s", signer)
	}
	return roots, nil
}

// delegateRoots are the roots of MeshConfig.caCertificates, and for a signer that
// has none there, those that the cluster publishes.
func delegateRoots(ctx context.Context, client *kube.Client, mc *meshconfig.MeshConfig, signer string) ([]ca.SignerRoots, error) {
	list := signerRoots(mc)
	for _, r := range list {
		for _, s := range r.Signers {
			if s == signer {
				return list, nil
			}
		}
	}
	published, err := bundleRoots(ctx, client, signer)
	if err != nil {
		// An entry for all signers, or a plain sentence of NewDelegate, remains.
		return list, err
	}
	return append(list, published), nil
}
