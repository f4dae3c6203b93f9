package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOnDemand: sidecars hold what their workloads call and no more; all routing
// acts as it does elsewhere; and without the control plane what is known goes on
// while what is not fails with its reason.
func TestOnDemand(t *testing.T) {
	m := startMesh(t, false, "--on-demand", "--control-plane=process")
	outbound := func(workload, host string) bool {
		return strings.Contains(m.run("proxy-config", "cluster", workload, "-o", "json"), "outbound|9080||"+host+".default")
	}
	if outbound("productpage-v1", "reviews") {
		t.Error("reviews is there before the first call")
	}
	walkRouting(m)
	walkShifting(m)
	m.sample("bookinfo/virtual-service-reviews-test-v2.yaml")
	walkFaults(m)
	for workload, hosts := range map[string]map[string]bool{
		"productpage-v1": {"reviews": true, "details": true, "ratings": false, "productpage": false},
		"reviews-v2":     {"ratings": true, "details": false},
		"details-v1":     {"ratings": false, "reviews": false},
	} {
		for host, want := range hosts {
			if got := outbound(workload, host); got != want {
				t.Errorf("%s holds %s: %t, want %t", workload, host, got, want)
			}
		}
	}

	// No restart helps for as long as the process is stopped.
	pids := m.pidsOf("\x00control-plane\x00")
	if len(pids) != 1 {
		t.Fatalf("control-plane processes: %v", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pids[0], syscall.SIGCONT) }() // ended by then, if all went well
	for range 20 {
		if code, text := m.get("/productpage"); code != 200 {
			t.Fatalf("known calls: %d %s", code, text)
		}
	}
	start := time.Now()
	out, errs, err := m.exec("productpage-v1", "curl", "-sS", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}", "http://ratings:9080/ratings/0")
	if err == nil && out == "200" {
		t.Errorf("an unknown call passed: %s%s after %v", out, errs, time.Since(start))
	}
	eventually(t, 5*time.Second, func() error {
		log := m.run("logs", "productpage-v1", "-c", "proxy")
		return expect(strings.Contains(log, " NC ") && !strings.Contains(log, "PassthroughCluster"), "%s", log[max(0, len(log)-600):])
	})
	if err := syscall.Kill(pids[0], syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() error {
		out, errs, err := m.exec("productpage-v1", "curl", "-sS", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}", "http://ratings:9080/ratings/0")
		return expect(err == nil && out == "200", "%v %s%s", err, out, errs)
	})
}
