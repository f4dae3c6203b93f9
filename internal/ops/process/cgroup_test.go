package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeRoot makes a file system root of files.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	mountV2 = `30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`
	mountV1 = `31 23 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory
32 23 0:28 / /sys/fs/cgroup/cpu rw shared:6 - cgroup cgroup rw,cpu`
)

func TestFindCgroup(t *testing.T) {
	const none = "9223372036854771712"
	for _, c := range []struct {
		name  string
		files map[string]string
		limit int64 // 0: none
		used  int64
		anon  int64
	}{
		{"version 2 in a namespace of its own", map[string]string{
			"proc/self/cgroup": "0::/", "proc/self/mountinfo": mountV2,
			"sys/fs/cgroup/memory.max": "41943040", "sys/fs/cgroup/memory.current": "5000",
			"sys/fs/cgroup/memory.stat": "anon 3000\nfile 2000\ninactive_file 1500\nactive_file 500",
		}, 41943040, 3500, 3000},
		{"version 2, the limit is a parent's", map[string]string{
			"proc/self/cgroup": "0::/kubepods/pod1/c1", "proc/self/mountinfo": mountV2,
			"sys/fs/cgroup/kubepods/pod1/c1/memory.max": "max", "sys/fs/cgroup/kubepods/pod1/memory.max": "1000",
			"sys/fs/cgroup/kubepods/memory.max": "2000", "sys/fs/cgroup/kubepods/pod1/memory.current": "700", "sys/fs/cgroup/kubepods/pod1/memory.stat": "inactive_file 900",
		}, 1000, 0, 0},
		{"version 2, no limit", map[string]string{
			"proc/self/cgroup": "0::/a", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/a/memory.max": "max",
		}, 0, 0, 0},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc", "proc/self/mountinfo": mountV1,
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "5000", "sys/fs/cgroup/memory/docker/memory.limit_in_bytes": none,
			"sys/fs/cgroup/memory/memory.limit_in_bytes": none, "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "4000",
			"sys/fs/cgroup/memory/docker/abc/memory.stat": "cache 100\nrss 800\ntotal_rss 900\ntotal_cache 200\ntotal_inactive_file 150",
		}, 5000, 3850, 900},
		{"version 1, the container sees its group only", map[string]string{
			"proc/self/cgroup": "4:memory:/docker/abc", "proc/self/mountinfo": strings.Replace(mountV1, "0:27 /", "0:27 /docker/abc", 1),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "6000", "sys/fs/cgroup/memory/memory.usage_in_bytes": "10", "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 0",
		}, 6000, 10, 0},
		{"both, the second without a memory controller", map[string]string{
			"proc/self/cgroup": "4:memory:/a\n0::/", "proc/self/mountinfo": mountV1 + "\n33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "7000", "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "8", "sys/fs/cgroup/memory/a/memory.stat": "x 1",
		}, 7000, 8, 0},
		{"another part of the tree", map[string]string{
			"proc/self/cgroup": "0::/../other", "proc/self/mountinfo": strings.Replace(mountV2, "0:26 /", "0:26 /mine", 1),
			"sys/fs/cgroup/memory.max": "8000", "sys/fs/cgroup/memory.current": "1", "sys/fs/cgroup/memory.stat": "",
		}, 8000, 1, 0},
		{"no control groups", map[string]string{"proc/self/cgroup": "", "proc/self/mountinfo": "23 1 0:1 / / rw - ext4 /dev/sda rw"}, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := FindCgroup(fakeRoot(t, c.files))
			if err != nil {
				t.Fatal(err)
			}
			limit, ok := g.Limit()
			if ok != (c.limit > 0) || limit != c.limit {
				t.Errorf("limit %d, %t, want %d", limit, ok, c.limit)
			}
			if m, err := g.Memory(); err != nil || m.Used != c.used || m.Anonymous != c.anon {
				t.Errorf("%+v, %v, want %d and %d", m, err, c.used, c.anon)
			}
		})
	}
}

func TestFindCgroupErrors(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no proc":   {"x": ""},
		"no mounts": {"proc/self/cgroup": "0::/"},
		"no number": {"proc/self/cgroup": "0::/", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/memory.max": "much"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := FindCgroup(fakeRoot(t, files)); err == nil {
				t.Error("no error")
			}
		})
	}
	var none *Cgroup
	if _, ok := none.Limit(); ok {
		t.Error("a limit out of nothing")
	}
}
