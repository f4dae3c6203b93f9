package kube

import (
	"context"
	"log/slog"
	"testing"
	"time"

	certificates "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/testkit/apiserver"
)

// unreachable is a server that nobody asks.
var unreachable = &rest.Config{Host: "http://127.0.0.1:1"}

// connect makes a client of a test's API server.
func connect(t testing.TB, s *apiserver.Server, revision string) *Client {
	t.Helper()
	c, err := Connect(t.Context(), Options{Kubeconfig: s.Kubeconfig, Revision: revision, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits for something to become true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// start runs something that ends with the test.
func start(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("it does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// failed is what a signer says that does not sign.
var failed = certificates.CertificateSigningRequestCondition{
	Type: certificates.CertificateFailed, Status: corev1.ConditionTrue, Reason: "Tired", Message: "the signer is tired",
}
