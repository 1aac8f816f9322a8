//go:build unix && !aix && !solaris

package main

import (
	"os"
	"syscall"
)

// lock takes the file for this process alone, or fails at once. The operating
// system lets go of it when the process ends, however it ends.
func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
