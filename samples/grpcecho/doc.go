// Package grpcecho is the sample for gRPC: a server whose four methods, one of each
// kind, send back what they get with the name of the version that answers, and a
// client that prints what it receives as lines of JSON.
//
// The messages are google.protobuf.Struct, so that there is nothing to generate;
// the service has a descriptor all the same, which the server's reflection serves.
package grpcecho
