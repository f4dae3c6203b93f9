package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	admission "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"encoding/json"
)

// PatchWebhook sets the CA bundle of every webhook of the configuration of that
// name, mutating or validating. What is right already is not written. ErrNotFound
// tells that there is neither.
func (c *Client) PatchWebhook(ctx context.Context, name string, caBundle []byte) error {
	return c.patchWebhook(ctx, name, caBundle, "")
}

// PatchWebhookPolicy is PatchWebhook that sets the failure policy too: "Fail" once
// the webhook is served, "Ignore" before.
func (c *Client) PatchWebhookPolicy(ctx context.Context, name string, caBundle []byte, failurePolicy string) error {
	if p := admission.FailurePolicyType(failurePolicy); p != admission.Fail && p != admission.Ignore {
		return fmt.Errorf("webhook configuration %s: the failure policy %q is neither Fail nor Ignore", name, failurePolicy)
	}
	return c.patchWebhook(ctx, name, caBundle, failurePolicy)
}

func (c *Client) patchWebhook(ctx context.Context, name string, caBundle []byte, policy string) error {
	ctx, cancel := context.WithTimeout(c.context(ctx), requestTimeout)
	defer cancel()
	mutating := c.patchMutating(ctx, name, caBundle, policy)
	validating := c.patchValidating(ctx, name, caBundle, policy)
	switch {
	case errors.Is(mutating, ErrNotFound) && errors.Is(validating, ErrNotFound):
		return fmt.Errorf("webhook configuration %s: %w", name, ErrNotFound)
	case errors.Is(mutating, ErrNotFound):
		return validating
	case errors.Is(validating, ErrNotFound):
		return mutating
	}
	return errors.Join(mutating, validating)
}

func (c *Client) patchMutating(ctx context.Context, name string, caBundle []byte, policy string) error {
	api := c.typed.AdmissionregistrationV1().MutatingWebhookConfigurations()
	w, err := api.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return explain(err, "reading MutatingWebhookConfiguration %s", name)
	}
	var hooks []hook
	for i := range w.Webhooks {
		hooks = append(hooks, hook{w.Webhooks[i].Name, w.Webhooks[i].ClientConfig.CABundle, w.Webhooks[i].FailurePolicy})
	}
	patch, err := webhookPatch(w.ResourceVersion, hooks, caBundle, policy)
	if err != nil || patch == nil {
		return err
	}
	_, err = api.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	return explain(err, "patching MutatingWebhookConfiguration %s", name)
}

func (c *Client) patchValidating(ctx context.Context, name string, caBundle []byte, policy string) error {
	api := c.typed.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	w, err := api.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return explain(err, "reading ValidatingWebhookConfiguration %s", name)
	}
	var hooks []hook
	for i := range w.Webhooks {
		hooks = append(hooks, hook{w.Webhooks[i].Name, w.Webhooks[i].ClientConfig.CABundle, w.Webhooks[i].FailurePolicy})
	}
	patch, err := webhookPatch(w.ResourceVersion, hooks, caBundle, policy)
	if err != nil || patch == nil {
		return err
	}
	_, err = api.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	return explain(err, "patching ValidatingWebhookConfiguration %s", name)
}

// hook is the part of a webhook that is kept right.
type hook struct {
	name   string
	bundle []byte
	policy *admission.FailurePolicyType
}

// webhookPatch is a JSON patch (RFC 6902) that brings the hooks to what they should
// be; nil where they are. It holds only for the version that was read: hooks are
// patched by their place in the list.
func webhookPatch(version string, hooks []hook, caBundle []byte, policy string) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	ops := []operation{{"test", "/metadata/resourceVersion", version}}
	for i, h := range hooks {
		if !bytes.Equal(h.bundle, caBundle) {
			ops = append(ops, operation{"add", fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), caBundle}) // "add" replaces a member that is there
		}
		if policy != "" && (h.policy == nil || string(*h.policy) != policy) {
			ops = append(ops, operation{"add", fmt.Sprintf("/webhooks/%d/failurePolicy", i), policy})
		}
	}
	if len(ops) == 1 {
		return nil, nil
	}
	return json.Marshal(ops)
}
