// Package behave holds tests only: one behaviour on two data planes. A case is a
// file in testdata: configuration as YAML, a script of requests, and the answers
// that are expected. It runs against our proxy, in this process, and against a real
// Envoy, both configured by the same control plane code over ADS. README.md tells
// the format.
//
// Everything runs in network namespaces that the test makes: a pod for the proxy
// under test, with the project's own redirection, and a world around it in which
// every address belongs to scripted servers.
package behave
