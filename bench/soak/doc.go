// Command soak puts two real lateen-proxy processes, a sidecar at the client and one
// at the server with mTLS between them, under mixed traffic for a long time: steady
// well-behaved traffic that must see no error at all, and beside it clients and
// servers that reset, dawdle, send garbage or never answer, while the configuration
// changes every few seconds, certificates and roots are replaced, and the control
// plane goes away now and then.
//
// It fails when well-behaved traffic saw an error, when memory grows in the second
// half, or when goroutines or descriptors are left after the traffic's end. See
// ../README.md.
package main
