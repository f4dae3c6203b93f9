// Package cache keeps the configuration that a proxy has in force on disk, so that a
// proxy that starts again while the control plane is away serves as it did before.
//
// What is kept are the resources as they were received and accepted, in one file that
// is replaced as a whole. A file that is damaged, of another version or of another
// proxy is not used. Secrets are not written to a disk: see Options.
package cache
