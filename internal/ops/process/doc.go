// Package process makes a Go process a good neighbour on a shared machine: how
// many cores it uses, how much memory, and how often it collects garbage. It reads
// what the process was given (control groups, the environment) and what it uses.
package process
