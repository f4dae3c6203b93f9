// Package command holds the commands of lateen-proxy, so that `lateen` can run
// them in the same binary: an explicit table, and per command a parser of its
// flags and the work.
package command
