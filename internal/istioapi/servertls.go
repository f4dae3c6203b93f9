package istioapi

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// serverModes are the modes that act.
var serverModes = map[networking.ServerTLSSettings_TLSmode]mesh.ServerTLSMode{
	networking.ServerTLSSettings_PASSTHROUGH:     mesh.TLSPassthrough,
	networking.ServerTLSSettings_SIMPLE:          mesh.TLSSimple,
	networking.ServerTLSSettings_MUTUAL:          mesh.TLSMutual,
	networking.ServerTLSSettings_OPTIONAL_MUTUAL: mesh.TLSOptionalMutual,
	networking.ServerTLSSettings_ISTIO_MUTUAL:    mesh.TLSMesh,
}

// serverTLS reads the TLS of a gateway's server. It is nil where the server must stay
// closed: what it demands of clients cannot be held.
func (r *reader) serverTLS(at verdict.Origin, in *networking.ServerTLSSettings) *mesh.ServerTLS {
	mode, ok := serverModes[in.Mode]
	if !ok {
		r.say(at.At("mode"), verdict.Unsupported, "the mode %s is not supported yet: the server is not opened", in.Mode)
		return nil
	}
	out := &mesh.ServerTLS{Mode: mode}
	if mode == mesh.TLSPassthrough {
		return out
	}
	if in.CredentialName != "" {
		out.Credentials = []string{in.CredentialName}
	} else {
		out.Credentials = in.CredentialNames
	}
	if mode == mesh.TLSMesh {
		out.Credentials = nil // it has the workload's own
	} else if len(out.Credentials) == 0 {
		r.say(at.At("credentialName"), verdict.Unsupported, "only credentials that credentialName names are supported yet: the server is not opened")
		return nil
	}
	for i, name := range out.Credentials {
		if strings.Contains(name, "://") || name == "" {
			r.say(at.At(index("credentialNames", i)), verdict.Unsupported, "%q is not the name of a Secret: the server is not opened", name)
			return nil
		}
	}
	out.CACredential = in.CaCertCredentialName
	r.serverVersions(at, out, in)
	if !r.clientCertificates(at, out, in) {
		return nil
	}
	return out
}

// clientCertificates reads whose certificates are taken. ok is false where it cannot be
// held.
func (r *reader) clientCertificates(at verdict.Origin, out *mesh.ServerTLS, in *networking.ServerTLSSettings) bool {
	asks := out.Asks() || out.Mode == mesh.TLSMesh
	if in.GetInsecureSkipVerify().GetValue() {
		r.say(at.At("insecureSkipVerify"), verdict.Unsupported, "certificates of clients that nobody has checked are not taken: the server is not opened")
		return false
	}
	out.SANs, out.SPKIs = in.SubjectAltNames, in.VerifyCertificateSpki
	for i, s := range out.SPKIs {
		if b, err := base64.StdEncoding.DecodeString(s); err != nil || len(b) != 32 {
			r.say(at.At(index("verifyCertificateSpki", i)), verdict.Invalid, "not a SHA-256 hash in base64: the server is not opened")
			return false
		}
	}
	for i, s := range in.VerifyCertificateHash {
		plain := strings.ToLower(strings.ReplaceAll(s, ":", ""))
		if b, err := hex.DecodeString(plain); err != nil || len(b) != 32 {
			r.say(at.At(index("verifyCertificateHash", i)), verdict.Invalid, "not a SHA-256 hash in hexadecimal: the server is not opened")
			return false
		}
		out.Hashes = append(out.Hashes, plain)
	}
	if out.Mode == mesh.TLSMesh && len(out.SPKIs)+len(out.Hashes) > 0 {
		r.say(at, verdict.Unsupported, "hashes of certificates do not last in the mode %s, whose clients renew them: the server is not opened", in.Mode)
		return false
	}
	if !asks && len(out.SANs)+len(out.SPKIs)+len(out.Hashes) > 0 {
		r.say(at, verdict.NotActedOn, "clients are not asked for certificates in the mode %s: nothing is compared with names or hashes", in.Mode)
		out.SANs, out.SPKIs, out.Hashes = nil, nil, nil
	}
	return true
}

var protocolVersions = map[networking.ServerTLSSettings_TLSProtocol]uint16{
	networking.ServerTLSSettings_TLSV1_0: tls.VersionTLS10,
	networking.ServerTLSSettings_TLSV1_1: tls.VersionTLS11,
	networking.ServerTLSSettings_TLSV1_2: tls.VersionTLS12,
	networking.ServerTLSSettings_TLSV1_3: tls.VersionTLS13,
}

// serverCiphers are Istio's, without DES-CBC3-SHA, which no data plane of today has.
var serverCiphers = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
}

func (r *reader) serverVersions(at verdict.Origin, out *mesh.ServerTLS, in *networking.ServerTLSSettings) {
	out.MinVersion, out.MaxVersion = protocolVersions[in.MinProtocolVersion], protocolVersions[in.MaxProtocolVersion]
	if out.MaxVersion != 0 && out.MaxVersion < max(out.MinVersion, tls.VersionTLS12) && out.MinVersion == 0 {
		out.MinVersion = out.MaxVersion
	}
	if out.MaxVersion != 0 && out.MinVersion > out.MaxVersion {
		r.say(at.At("minProtocolVersion"), verdict.Invalid, "it is above maxProtocolVersion, which counts")
		out.MinVersion = out.MaxVersion
	}
	for i, name := range in.CipherSuites {
		if !slices.Contains(serverCiphers, name) {
			r.say(at.At(index("cipherSuites", i)), verdict.Unsupported, "the cipher suite %s is not known; it is left out", name)
		} else if !slices.Contains(out.Ciphers, name) {
			out.Ciphers = append(out.Ciphers, name)
		}
	}
}
