// Package ops holds what every binary needs to be operated: logging with scopes
// whose levels change at run time, and readiness.
package ops
