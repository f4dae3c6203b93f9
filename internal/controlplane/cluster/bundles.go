package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/kube"
)

// trustWebhooks writes the mesh's roots into every webhook configuration that calls
// this control plane's Service: those that the chart made and those of revision
// tags, whatever their names. Validating ones fail closed from then on: the
// control plane answers.
func trustWebhooks(ctx context.Context, o Options, client *kube.Client, roots []byte) error {
	names, err := ownWebhooks(ctx, o, client)
	if err != nil {
		return err
	}
	var errs []error
	for name, validating := range names {
		if validating && o.Validation {
			err = client.PatchWebhookPolicy(ctx, name, roots, string(admissionregistration.Fail))
		} else {
			err = client.PatchWebhook(ctx, name, roots)
		}
		if err != nil && !errors.Is(err, kube.ErrNotFound) && !errors.Is(err, kube.ErrConflict) { // the next round sees what it is now
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ownWebhooks lists the configurations that call this control plane; true for
// validating ones.
func ownWebhooks(ctx context.Context, o Options, client *kube.Client) (map[string]bool, error) {
	api := client.Typed().AdmissionregistrationV1()
	mutating, err := api.MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing mutating webhooks: %w", err)
	}
	validating, err := api.ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing validating webhooks: %w", err)
	}
	names := map[string]bool{}
	for i := range mutating.Items {
		for j := range mutating.Items[i].Webhooks {
			if w := &mutating.Items[i].Webhooks[j]; o.calls(w.ClientConfig, "/inject") {
				names[mutating.Items[i].Name] = false
			}
		}
	}
	for i := range validating.Items {
		for j := range validating.Items[i].Webhooks {
			if w := &validating.Items[i].Webhooks[j]; o.calls(w.ClientConfig, "/validate") {
				names[validating.Items[i].Name] = true
			}
		}
	}
	return names, nil
}

// calls reports whether a webhook calls this control plane.
func (o Options) calls(c admissionregistration.WebhookClientConfig, path string) bool {
	s := c.Service
	return s != nil && s.Namespace == o.Namespace && s.Name == o.serviceName() && s.Path != nil && strings.HasPrefix(*s.Path, path)
}
