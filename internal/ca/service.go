package ca

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityv1 "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// Signer makes certificates: an *Authority with its own root, or one with a
// plugged-in intermediate.
type Signer interface {
	TrustDomain() string
	// Sign returns PEM, the leaf first and the roots last; see Authority.Sign.
	Sign(csrPEM []byte, id spiffe.ID, lifetime time.Duration) (chain [][]byte, err error)
}

// Service answers istio.v1.auth.IstioCertificateService: a caller with a valid
// token gets a certificate for its own identity, and for no other.
type Service struct {
	securityv1.UnimplementedIstioCertificateServiceServer
	signer Signer
	tokens *Tokens
	log    *slog.Logger
}

// NewService makes the service.
func NewService(s Signer, t *Tokens, log *slog.Logger) *Service {
	return &Service{signer: s, tokens: t, log: log}
}

// Register adds the service to a server.
func (s *Service) Register(to grpc.ServiceRegistrar) {
	securityv1.RegisterIstioCertificateServiceServer(to, s)
}

// CreateCertificate implements the service: the chain holds the leaf first and
// the root last, as Istio's does.
func (s *Service) CreateCertificate(ctx context.Context, r *securityv1.IstioCertificateRequest) (*securityv1.IstioCertificateResponse, error) {
	w, err := s.tokens.Authenticate(ctx)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	id, err := spiffe.New(s.signer.TrustDomain(), w.Namespace, w.ServiceAccount)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	chain, err := s.signer.Sign([]byte(r.GetCsr()), id, seconds(r.GetValidityDuration()))
	if err != nil {
		s.log.Warn("certificate request refused", "workload", w.Namespace+"/"+w.Instance, "err", err)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	resp := &securityv1.IstioCertificateResponse{}
	for _, c := range chain {
		resp.CertChain = append(resp.CertChain, string(c))
	}
	return resp, nil
}

// seconds turns a requested lifetime into a duration; what no duration can hold
// is as long as it gets.
func seconds(n int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	return time.Duration(min(max(n, 0), most)) * time.Second
}

// Authenticate reads the bearer token of a gRPC call.
func (t *Tokens) Authenticate(ctx context.Context) (Workload, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if token, ok := strings.CutPrefix(v, "Bearer "); ok {
			return t.Check(token)
		}
	}
	return Workload{}, errors.New("no bearer token")
}
