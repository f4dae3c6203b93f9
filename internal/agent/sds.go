package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// secretType is the type URL of secrets.
const secretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// secrets serves the workload's certificate and roots to its Envoy: "default" and
// "ROOTCA", again at every renewal. A stream waits until there is a certificate.
type secrets struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	id  *identity.Identity
	log *slog.Logger
}

// make builds a secret; nil while there is none, an error for an unknown name.
func (s *secrets) make(name string) (*anypb.Any, error) {
	cert, key, roots, ok := s.id.PEM()
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	m := &tlsv3.Secret{Name: name}
	switch name {
	case identity.CertificateName:
		m.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(cert), PrivateKey: inline(key)}}
	case identity.RootsName:
		m.Type = &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(roots)}}
	default:
		return nil, status.Errorf(codes.InvalidArgument, "there is no secret %q: the agent has %s and %s", name, identity.CertificateName, identity.RootsName)
	}
	if !ok {
		return nil, nil
	}
	return anypb.New(m)
}

// secretRequest is a request of either form.
type secretRequest struct {
	subscribe, unsubscribe []string
	replace                bool // subscribe is the whole list
	refused                string
}

// serve is the part that both forms share: it calls push with the names to send
// after each change of the subscription or of the identity.
func (s *secrets) serve(ctx context.Context, receive func() (secretRequest, error), push func(names []string, nonce string) error) error {
	requests := make(chan secretRequest)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the stream, which ends when serve returns
		for {
			r, err := receive()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	var names []string
	nonce := 0
	for {
		renewed := s.id.Changed()
		due := false
		select {
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-renewed:
			due = true
		case r := <-requests:
			if r.refused != "" {
				s.log.Error("the Envoy refuses a secret", "names", names, "err", r.refused)
			}
			old := names
			names = r.apply(names)
			due = !slices.Equal(old, names) || len(r.subscribe) > 0 && !r.replace
		}
		if _, _, _, ok := s.id.PEM(); !due || !ok || len(names) == 0 {
			continue
		}
		nonce++
		if err := push(names, strconv.Itoa(nonce)); err != nil {
			return err
		}
	}
}

// apply returns the new subscription, sorted.
func (r *secretRequest) apply(names []string) []string {
	if r.replace {
		if len(r.subscribe) == 0 {
			return nil
		}
		names = nil
	}
	next := slices.Concat(names, r.subscribe)
	next = slices.DeleteFunc(next, func(n string) bool { return slices.Contains(r.unsubscribe, n) })
	slices.Sort(next)
	return slices.Compact(next)
}

// StreamSecrets serves the state-of-the-world form.
func (s *secrets) StreamSecrets(stream grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]) error {
	return s.serve(stream.Context(), func() (secretRequest, error) {
		m, err := stream.Recv()
		if err != nil {
			return secretRequest{}, err
		}
		return secretRequest{subscribe: m.GetResourceNames(), replace: true, refused: refusal(m.GetErrorDetail())}, nil
	}, func(names []string, nonce string) error {
		resp := &discoveryv3.DiscoveryResponse{TypeUrl: secretType, Nonce: nonce, VersionInfo: s.version()}
		for _, n := range names {
			x, err := s.make(n)
			if err != nil {
				return err
			}
			resp.Resources = append(resp.Resources, x)
		}
		return stream.Send(resp)
	})
}

// DeltaSecrets serves the incremental form.
func (s *secrets) DeltaSecrets(stream grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	return s.serve(stream.Context(), func() (secretRequest, error) {
		m, err := stream.Recv()
		if err != nil {
			return secretRequest{}, err
		}
		return secretRequest{
			subscribe: m.GetResourceNamesSubscribe(), unsubscribe: m.GetResourceNamesUnsubscribe(),
			refused: refusal(m.GetErrorDetail()),
		}, nil
	}, func(names []string, nonce string) error {
		version := s.version()
		resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: secretType, Nonce: nonce, SystemVersionInfo: version}
		for _, n := range names {
			x, err := s.make(n)
			if err != nil {
				return err
			}
			resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: n, Version: version, Resource: x})
		}
		return stream.Send(resp)
	})
}

// FetchSecrets serves the form without a stream.
func (s *secrets) FetchSecrets(ctx context.Context, r *discoveryv3.DiscoveryRequest) (*discoveryv3.DiscoveryResponse, error) {
	if err := s.id.Wait(ctx); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	resp := &discoveryv3.DiscoveryResponse{TypeUrl: secretType, VersionInfo: s.version()}
	for _, n := range r.GetResourceNames() {
		x, err := s.make(n)
		if err != nil {
			return nil, err
		}
		resp.Resources = append(resp.Resources, x)
	}
	return resp, nil
}

// version names the current certificate by its serial number.
func (s *secrets) version() string {
	sec, ok := s.id.Secret(identity.CertificateName)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%x", sec.Certificate.Leaf.SerialNumber)
}

func refusal(e interface{ GetMessage() string }) string { return e.GetMessage() }
