package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Before is an older state of the project, for tests of upgrades: its images are on
// the nodes with the tag "before".
type Before struct {
	Commit string
	Source string // its source tree: its charts are in there
	Lateen string // its command line
}

// envBefore names the commit to upgrade from; without it, it is beforeCommit.
const (
	envBefore    = "LATEEN_KUBE_BEFORE"
	beforeCommit = "c52fcd747c60"
)

// BeforeTag is the tag of the older images.
const BeforeTag = "before"

// Earlier builds the images of the older state and puts them on the nodes. It skips
// the test where the repository's history does not reach that far.
func (b *Bed) Earlier(t testing.TB) Before {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	before := Before{Commit: beforeCommit}
	if s := os.Getenv(envBefore); s != "" {
		before.Commit = s
	}
	if err := exec.CommandContext(ctx, "git", "-C", b.Root, "cat-file", "-e", before.Commit+"^{commit}").Run(); err != nil {
		t.Skipf("the commit %s to upgrade from is not in this clone: fetch the whole history", before.Commit)
	}
	dir := filepath.Join(filepath.Dir(b.Images.Archive), "before")
	before.Source, before.Lateen = filepath.Join(dir, "source"), filepath.Join(dir, "bin", "lateen")
	began := time.Now()
	if err := b.buildBefore(ctx, &before, dir); err != nil {
		t.Fatal(err)
	}
	t.Logf("commit %s built and loaded in %.1f s", before.Commit, time.Since(began).Seconds())
	return before
}

func (b *Bed) buildBefore(ctx context.Context, before *Before, dir string) error {
	if err := errors.Join(os.RemoveAll(before.Source), os.MkdirAll(before.Source, 0o755)); err != nil {
		return err
	}
	if err := quietly(exec.CommandContext(ctx, "sh", "-c", `git -C "$1" archive "$2" | tar -x -C "$3"`, "sh", b.Root, before.Commit, before.Source)); err != nil {
		return fmt.Errorf("the source of %s: %w", before.Commit, err)
	}
	bin := filepath.Dir(before.Lateen)
	if err := build(ctx, before.Source, bin, "./cmd/lateen", "./cmd/lateen-proxy"); err != nil {
		return err
	}
	archive := filepath.Join(dir, "images.tar")
	pack := filepath.Join(filepath.Dir(b.Images.Archive), "image")
	if err := quietly(exec.CommandContext(ctx, pack, "-bin", bin, "-tag", BeforeTag, "-o", archive)); err != nil {
		return err
	}
	return b.Cluster.ImportMore(ctx, archive)
}
