// Package console tests the console's pages in a real browser over a fixture: a
// server with made-up meshes that answers as internal/console does. What needs a real
// mesh is in package e2e.
package console
