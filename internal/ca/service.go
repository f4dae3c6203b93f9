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

// Authenticator tells who makes a gRPC call: by its bearer token, or by the
// certificate of the connection.
type Authenticator interface {
	Authenticate(ctx context.Context) (Workload, error)
}

// Service answers istio.v1.auth.IstioCertificateService: a caller with a valid
// token gets a certificate for its own identity, and for no other.
type Service struct {
	securityv1.UnimplementedIstioCertificateServiceServer
	signer  Signer
	callers Authenticator
	metrics *Metrics
	log     *slog.Logger
}

// NewService makes the service. Metrics may be nil.
func NewService(s Signer, callers Authenticator, metrics *Metrics, log *slog.Logger) *Service {
	if metrics == nil {
		metrics = NewMetrics(nil)
	}
	return &Service{signer: s, callers: callers, metrics: metrics, log: log}
}

// Register adds the service to a server.
func (s *Service) Register(to grpc.ServiceRegistrar) {
	securityv1.RegisterIstioCertificateServiceServer(to, s)
}

// CreateCertificate implements the service: the chain holds the leaf first and
// the roots last, as Istio's does. The request's metadata may name a signer of
// Kubernetes as "CertSigner".
func (s *Service) CreateCertificate(ctx context.Context, r *securityv1.IstioCertificateRequest) (*securityv1.IstioCertificateResponse, error) {
	s.metrics.requests.Inc()
	w, err := s.callers.Authenticate(ctx)
	if err != nil {
		s.metrics.strangers.Inc()
		return nil, refusal(err)
	}
	id, err := spiffe.New(s.signer.TrustDomain(), w.Namespace, w.ServiceAccount)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	chain, err := s.signer.Sign(ctx, Request{
		CSR: []byte(r.GetCsr()), ID: id, Lifetime: seconds(r.GetValidityDuration()),
		Signer: r.GetMetadata().GetFields()["CertSigner"].GetStringValue(),
	})
	if err != nil {
		s.metrics.refused.Inc()
		s.log.Warn("certificate request refused", "workload", w.Namespace+"/"+w.Instance, "err", err)
		return nil, status.Error(failure(err), err.Error())
	}
	s.metrics.issued.Inc()
	resp := &securityv1.IstioCertificateResponse{}
	for _, c := range chain {
		resp.CertChain = append(resp.CertChain, string(c))
	}
	return resp, nil
}

// refusal turns why a caller is not let in into a status: what the error says
// itself, or Unauthenticated.
func refusal(err error) error {
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(codes.Unauthenticated, err.Error())
}

// failure is the code of a certificate that was not made. What is not the
// request's fault may be tried again.
func failure(err error) codes.Code {
	if errors.Is(err, ErrUnavailable) {
		return codes.Unavailable
	}
	return codes.InvalidArgument
}

// ErrUnavailable is wrapped by errors of signers that may go by.
var ErrUnavailable = errors.New("the signer does not answer now")

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
