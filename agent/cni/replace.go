// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errChanged: another wrote the file in between, and its text stands there.
var errChanged = errors.New("another program changed it at the same moment")

// errStranded: the text of another program is in a temporary file, which stays.
var errStranded = errors.New("what another program wrote at the same moment is")

// temporary files: a name that no runtime reads as a configuration.
const (
	tempPattern = ".weir-cni-*.tmp"
	tempAge     = time.Minute // older ones are of a writer that died
)

// replace puts fresh where old stands, in one step, with the same mode and
// owner. Two programs may write the file at once: what the other wrote is
// never lost, since the two texts change places and what comes out is looked
// at. If it is not old, it is put back.
func replace(path string, old, fresh []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	temp, err := writeTemp(filepath.Dir(path), fresh, info)
	if err != nil {
		return err
	}
	err = swap(temp, path, old, fresh)
	if errors.Is(err, errStranded) {
		return err
	}
	if gone := os.Remove(temp); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return errors.Join(err, syncDir(filepath.Dir(path)))
}

// swap ends with fresh at path, or with the newest text of another.
func swap(temp, path string, old, fresh []byte) error {
	expected, put := old, fresh
	for {
		err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
		first := bytes.Equal(put, fresh)
		if first && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) {
			return overwrite(temp, path, old) // e.g. NFS
		}
		if err != nil && first {
			return fmt.Errorf("exchange %s: %w", path, err)
		}
		if err != nil {
			return fmt.Errorf("%w in %s, and cannot be put back: %w", errStranded, temp, err)
		}
		got, err := os.ReadFile(temp)
		if err != nil {
			return fmt.Errorf("%w in %s: %w", errStranded, temp, err)
		}
		if bytes.Equal(got, expected) {
			break
		}
		expected, put = put, got
	}
	if !bytes.Equal(put, fresh) {
		return errChanged
	}
	return nil
}

// overwrite is swap without an exchange: a write of another between the look
// and the rename would be lost.
func overwrite(temp, path string, old []byte) error {
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, old) {
		return errChanged
	}
	return os.Rename(temp, path)
}

// create writes a file that was not there, or is weir's own.
func create(path string, text []byte, mode fs.FileMode) error {
	temp, err := writeTemp(filepath.Dir(path), text, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(temp, mode), os.Rename(temp, path)); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes a file beside the one that it is to replace, and gives it
// mode and owner of like.
func writeTemp(dir string, text []byte, like fs.FileInfo) (string, error) {
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return "", fmt.Errorf("%w; the folder must be writable for weir-agent", err)
	}
	_, err = f.Write(text)
	if like != nil {
		err = errors.Join(err, f.Chmod(like.Mode().Perm()))
		if stat, ok := like.Sys().(*syscall.Stat_t); ok {
			err = errors.Join(err, f.Chown(int(stat.Uid), int(stat.Gid)))
		}
	}
	// Without this a node that loses power could come back with an empty
	// configuration, and start no pod.
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweepTemps removes what a writer that died has left.
func sweepTemps(dir string, now time.Time) error {
	names, err := filepath.Glob(filepath.Join(dir, tempPattern))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		info, err := os.Lstat(name)
		if err == nil && now.Sub(info.ModTime()) > tempAge {
			errs = append(errs, os.Remove(name))
		}
	}
	return errors.Join(errs...)
}
