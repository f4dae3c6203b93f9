// Package hcm is the HTTP connection manager: it serves the HTTP connections of
// one filter chain. Around the filter chain it does what concerns every request
// at a hop (RFC 9110 §7): identifiers, forwarding fields, path normalisation,
// route look-up, and it turns answers that the proxy makes itself into responses
// in one place. Behaviour is that of Envoy's documented HTTP connection manager.
package hcm
