// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const maxFile = 64 << 20 // bytes

// contentOf reads a regular file. busy: somebody is writing it.
func contentOf(path string) (data []byte, busy bool, err error) {
	// Opening a pipe would else wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, false, err
	case !info.Mode().IsRegular():
		return nil, false, errors.New("not a regular file")
	case info.Size() > maxFile:
		return nil, false, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	if beingWritten(f) {
		return nil, true, nil
	}
	data, err = io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, false, err
	}
	// A writer that came while the file was read.
	return data, beingWritten(f), nil
}

// beingWritten reports whether somebody has the open file open for writing. The
// kernel grants a read lease only where nobody has; it is given back at once.
// False also where it cannot be told: a file system without leases (some
// network ones), or a file of another user without CAP_LEASE. There a file that
// is written in place may be read by halves, if the half is whole YAML.
func beingWritten(f *os.File) bool {
	fd := f.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, syscall.F_RDLCK); err != nil {
		return errors.Is(err, unix.EAGAIN)
	}
	_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, syscall.F_UNLCK) // so does closing it
	return false
}
