// Package internal holds the tests of what the whole tree promises: who imports whom, and
// how long files and functions are.
package internal
