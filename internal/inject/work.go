package inject

import (
	"fmt"

	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// work is the injection of one pod.
type work struct {
	*Injector
	request  Request
	origin   verdict.Origin
	original *corev1.Pod // a copy of the request's, with its namespace

	earlier  earlier
	bare     *corev1.Pod // original without an earlier injection: what templates see
	proxy    *meshconfig.ProxyConfig
	native   bool
	verdicts []verdict.Status
}

func (w *work) run() (*corev1.Pod, error) {
	if err := w.checkAnnotations(); err != nil {
		return nil, err
	}
	var err error
	if w.earlier, err = readEarlier(w.original); err != nil {
		return nil, err
	}
	if w.proxy, err = w.effective(); err != nil {
		return nil, err
	}
	names, err := w.chosen()
	if err != nil {
		return nil, err
	}
	var base *corev1.Pod
	w.bare, base = w.earlier.strip(w.original)
	w.native = w.isNative()
	data, err := w.data()
	if err != nil {
		return nil, err
	}
	merged, added := base, &corev1.Pod{}
	for _, name := range names {
		patch, err := w.templates.render(name, data)
		if err != nil {
			return nil, err
		}
		if added, err = merge(added, patch); err != nil {
			return nil, fmt.Errorf("template %s gives no patch of a pod: %w", name, err)
		}
		moveProxy(merged, added)
		completeImages(merged, added)
		if merged, err = merge(merged, patch); err != nil {
			return nil, fmt.Errorf("template %s cannot be merged: %w", name, err)
		}
	}
	if merged, err = w.override(merged, added); err != nil {
		return nil, err
	}
	return merged, w.finish(merged, added)
}
