package intercept

import (
	"fmt"
	"os"
)

// AllowLowPorts lets every user bind ports below 1024 in the namespace of the
// calling thread, as container engines do: workloads run without capabilities.
func AllowLowPorts() error {
	// The file is that of the opening thread's namespace.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o644); err != nil {
		return fmt.Errorf("allowing low ports: %w", err)
	}
	return nil
}
