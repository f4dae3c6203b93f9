package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Cgroup is the control group that bounds the process's memory. A process may be
// in a version 2 group and, on older or mixed machines, in one of version 1's
// memory controller; what is tighter counts.
type Cgroup struct {
	groups []group // those with a limit; the tightest first
}

// group is one directory with a limit.
type group struct {
	dir   string
	files *groupFiles
	limit int64
}

// groupFiles are the names of a version's files.
type groupFiles struct {
	limit, used, stat string
	cache             string // in stat: page cache that the kernel takes back first
	anon              string // in stat: memory of the processes themselves
}

var (
	version2 = &groupFiles{"memory.max", "memory.current", "memory.stat", "inactive_file", "anon"}
	version1 = &groupFiles{"memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file", "total_rss"}
)

// unlimited is above every true limit: version 1 writes the largest number of
// pages where there is none.
const unlimited = math.MaxInt64 / 2

// FindCgroup finds the process's memory limits: its own group's, and those of the
// groups around it as far as they are visible. root is the file system's root, "/"
// but in tests. A process without a limit gets a Cgroup without one.
func FindCgroup(root string) (*Cgroup, error) {
	member, err := memberships(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil, err
	}
	mounts, err := cgroupMounts(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	c := &Cgroup{}
	for _, m := range mounts {
		files, where, ok := version2, member.unified, member.hasUnified
		if !m.v2 {
			files, where, ok = version1, member.memory, member.hasMemory
		}
		if !ok {
			continue
		}
		if err := c.add(root, m, where, files); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// add collects the limits from the process's group up to the mount's root.
func (c *Cgroup) add(root string, m mount, where string, files *groupFiles) error {
	below, found := strings.CutPrefix(where, m.root)
	if m.root == "/" {
		below, found = where, true
	}
	if !found { // the mount shows another part of the tree: the root is our group
		below = "/"
	}
	for dir := path.Join("/", below); ; dir = path.Dir(dir) {
		at := filepath.Join(root, m.point, dir)
		limit, err := readLimit(filepath.Join(at, files.limit))
		switch {
		case errors.Is(err, fs.ErrNotExist): // the root has none, nor has a group without the controller
		case err != nil:
			return err
		case limit < unlimited:
			c.groups = append(c.groups, group{at, files, limit})
			for i := len(c.groups) - 1; i > 0 && c.groups[i].limit < c.groups[i-1].limit; i-- {
				c.groups[i], c.groups[i-1] = c.groups[i-1], c.groups[i]
			}
		}
		if dir == "/" {
			return nil
		}
	}
}

// Limit is the memory limit in bytes; false: there is none.
func (c *Cgroup) Limit() (int64, bool) {
	if c == nil || len(c.groups) == 0 {
		return 0, false
	}
	return c.groups[0].limit, true
}

// GroupMemory is what a control group uses, in bytes.
type GroupMemory struct {
	// Used counts against the limit and cannot be taken back: usage without inactive
	// page cache, kubelet's "working set".
	Used int64
	// Anonymous is the part that processes have allocated. The rest is the kernel's,
	// for sockets and tables, and files in use.
	Anonymous int64
}

// Memory reads what the group with the limit uses; zeros without a limit.
func (c *Cgroup) Memory() (GroupMemory, error) {
	var m GroupMemory
	if c == nil || len(c.groups) == 0 {
		return m, nil
	}
	g := c.groups[0]
	used, err := readNumber(filepath.Join(g.dir, g.files.used))
	if err != nil {
		return m, err
	}
	text, err := os.ReadFile(filepath.Join(g.dir, g.files.stat))
	if err != nil {
		return m, err
	}
	m.Used = used
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != g.files.cache && name != g.files.anon {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return m, fmt.Errorf("%s: %w", g.files.stat, err)
		}
		if name == g.files.cache {
			m.Used = max(used-n, 0)
		} else {
			m.Anonymous = n
		}
	}
	return m, nil
}

func readLimit(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	if strings.TrimSpace(string(text)) == "max" {
		return math.MaxInt64, nil
	}
	return parseNumber(file, text)
}

func readNumber(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return parseNumber(file, text)
}

func parseNumber(file string, text []byte) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}

// membership says in which groups the process is (cgroups(7), /proc/pid/cgroup).
type membership struct {
	unified, memory       string
	hasUnified, hasMemory bool
}

func memberships(file string) (membership, error) {
	var m membership
	err := eachLine(file, func(line string) {
		f := strings.SplitN(line, ":", 3) // number:controllers:path
		if len(f) != 3 {
			return
		}
		if f[0] == "0" && f[1] == "" {
			m.unified, m.hasUnified = f[2], true
		}
		for c := range strings.SplitSeq(f[1], ",") {
			if c == "memory" {
				m.memory, m.hasMemory = f[2], true
			}
		}
	})
	return m, err
}

// mount is a mounted control group hierarchy: root is the group that point shows.
type mount struct {
	root, point string
	v2          bool
}

// cgroupMounts reads proc_pid_mountinfo(5): "id parent dev root point options
// [tags] - type source superoptions".
func cgroupMounts(file string) ([]mount, error) {
	var out []mount
	err := eachLine(file, func(line string) {
		head, tail, found := strings.Cut(line, " - ")
		h, t := strings.Fields(head), strings.Fields(tail)
		if !found || len(h) < 5 || len(t) < 1 {
			return
		}
		m := mount{root: unescape(h[3]), point: unescape(h[4]), v2: t[0] == "cgroup2"}
		if m.v2 || t[0] == "cgroup" && len(t) >= 3 && hasOption(t[2], "memory") {
			out = append(out, m)
		}
	})
	return out, err
}

func hasOption(list, want string) bool {
	for o := range strings.SplitSeq(list, ",") {
		if o == want {
			return true
		}
	}
	return false
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func eachLine(file string, f func(string)) error {
	r, err := os.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	s := bufio.NewScanner(r)
	for s.Scan() {
		f(s.Text())
	}
	return s.Err()
}
