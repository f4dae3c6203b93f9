package kube

import (
	"testing"

	"github.com/lateen-mesh/lateen/test/kube/bed"
)

// TestSmoke is the short form of TestWalk that every test run can afford: install,
// inject, and one route through the gateway.
func TestSmoke(t *testing.T) {
	b := bed.Use(t)
	if bed.Full() {
		t.Skip("TestWalk does all of it")
	}
	install(t, b)
	url := bookinfo(t, b, "bookinfo")
	ready(t, b, "bookinfo", 2, 6)
	routing(t, b, url)
}
