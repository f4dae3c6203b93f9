package identity

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	securityv1 "istio.io/api/security/v1alpha1"
)

// NewIssuer asks istio.v1.auth.IstioCertificateService over a connection, with a
// bearer token that is read anew for every request.
func NewIssuer(conn grpc.ClientConnInterface, token func() (string, error)) Issuer {
	return &csrIssuer{client: securityv1.NewIstioCertificateServiceClient(conn), token: token}
}

type csrIssuer struct {
	client securityv1.IstioCertificateServiceClient
	token  func() (string, error)
}

func (c *csrIssuer) Issue(ctx context.Context, csr []byte) ([]string, error) {
	token, err := c.token()
	if err != nil {
		return nil, fmt.Errorf("reading the workload's token: %w", err)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	resp, err := c.client.CreateCertificate(ctx, &securityv1.IstioCertificateRequest{Csr: string(csr)})
	if err != nil {
		return nil, fmt.Errorf("asking for a certificate: %w", err)
	}
	return resp.GetCertChain(), nil
}
