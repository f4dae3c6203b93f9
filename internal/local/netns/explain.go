package netns

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Explain turns the kernel's refusal to make namespaces into a sentence that
// says what to do; other errors stay as they are.
func Explain(err error) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return fmt.Errorf("%s: %w", advice(readSetting), err)
}

// advice names the setting of the kernel that forbids user namespaces. read
// gives the value of a file below /proc/sys, and false if there is none.
func advice(read func(string) (string, bool)) string {
	const run = "lateen runs each workload in namespaces of its own, and "
	if v, ok := read("kernel/unprivileged_userns_clone"); ok && v == "0" {
		return run + "this kernel keeps them from ordinary users: allow them with `sysctl kernel.unprivileged_userns_clone=1`, or run lateen as root"
	}
	if v, ok := read("kernel/apparmor_restrict_unprivileged_userns"); ok && v != "0" {
		return run + "AppArmor keeps them from ordinary users: allow them with `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or run lateen as root"
	}
	for _, kind := range []string{"user", "net", "mnt", "pid"} {
		name := "user/max_" + kind + "_namespaces"
		if v, ok := read(name); ok && v == "0" {
			return run + "the limit for them is zero: raise it with `sysctl " + strings.ReplaceAll(name, "/", ".") + "=15000`"
		}
	}
	return run + "something forbids it here (a container without privileges, or a security module): check `sysctl kernel.unprivileged_userns_clone kernel.apparmor_restrict_unprivileged_userns user.max_user_namespaces`, or run lateen as root on the machine itself"
}

func readSetting(name string) (string, bool) {
	b, err := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(b)), err == nil
}
