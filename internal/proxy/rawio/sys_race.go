//go:build race

package rawio

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func sysRead(fd uintptr, p []byte) (int, syscall.Errno) {
	return again(func() (int, error) { return syscall.Read(int(fd), p) })
}

func sysWrite(fd uintptr, v *unix.Iovec) (int, syscall.Errno) {
	return again(func() (int, error) { return syscall.Write(int(fd), unsafe.Slice(v.Base, v.Len)) })
}

// sysWritev writes the first buffer only: package syscall has no gathered write,
// and its caller goes on with the rest.
func sysWritev(fd uintptr, iov []unix.Iovec) (int, syscall.Errno) {
	return sysWrite(fd, &iov[0])
}

func again(f func() (int, error)) (int, syscall.Errno) {
	for {
		n, err := f()
		e, _ := err.(syscall.Errno)
		if e == 0 {
			return n, 0
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

func sysSplice(from, to int) (int, syscall.Errno) {
	return again(func() (int, error) {
		n, err := syscall.Splice(from, nil, to, nil, maxCall, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		return int(n), err
	})
}
