package cni

import (
	"errors"
	"os"
	"syscall"
)

// inodeOf gives the number that tells namespaces apart.
func inodeOf(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("the system does not number its files")
	}
	return stat.Ino, nil
}
