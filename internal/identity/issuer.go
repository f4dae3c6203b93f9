package identity

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	securityv1 "istio.io/api/security/v1alpha1"
)

// NewIssuer asks istio.v1.auth.IstioCertificateService over a connection, with a
// bearer token that is read anew for every request; token is nil where the connection
// itself says who asks.
func NewIssuer(conn grpc.ClientConnInterface, token func() (string, error)) Issuer {
	return NewIssuerFor(conn, token, 0)
}

// NewIssuerFor is NewIssuer for certificates of a lifetime that the authority may
// shorten; 0 leaves it to the authority.
func NewIssuerFor(conn grpc.ClientConnInterface, token func() (string, error), lifetime time.Duration) Issuer {
	return &csrIssuer{client: securityv1.NewIstioCertificateServiceClient(conn), token: token, lifetime: lifetime}
}

type csrIssuer struct {
	client   securityv1.IstioCertificateServiceClient
	token    func() (string, error)
	lifetime time.Duration
}

func (c *csrIssuer) Issue(ctx context.Context, csr []byte) ([]string, error) {
	if c.token != nil {
		token, err := c.token()
		if err != nil {
			return nil, fmt.Errorf("reading the workload's token: %w", err)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	resp, err := c.client.CreateCertificate(ctx, &securityv1.IstioCertificateRequest{Csr: string(csr), ValidityDuration: int64(c.lifetime / time.Second)})
	if err != nil {
		return nil, fmt.Errorf("asking for a certificate: %w", err)
	}
	return resp.GetCertChain(), nil
}
