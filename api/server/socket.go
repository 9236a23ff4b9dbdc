// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	socketMode = 0o600
	// maxSocketPath is the room for a path in sockaddr_un less the final zero.
	maxSocketPath = 107
	probeTimeout  = time.Second
)

// ErrSocketInUse is wrapped where a live server answers at the path.
var ErrSocketInUse = errors.New("in use by a running server")

// Listen makes the Unix socket at path, for its owner alone (mode 0600, from
// the first instant). It makes the directory if only that is absent. A socket
// that a dead agent left is replaced; one that somebody listens on, and a file
// that is no socket, are not touched. Two agents that start at the same time
// are kept apart by the lock of the node, not by this. Closing the listener
// removes the socket, unless another has taken its place.
func Listen(path string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) { return nil, fmt.Errorf("API socket %s: %w", path, err) }
	if path == "" || len(path) > maxSocketPath {
		return fail(fmt.Errorf("a path of %d bytes; a Unix socket takes 1 to %d: choose another with --socket", len(path), maxSocketPath))
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail(fmt.Errorf("make its directory: %w", err))
	}
	if err := vacate(path); err != nil {
		return fail(err)
	}
	// The mode of the file is that of the socket's inode when it is bound, so
	// there is no instant at which others could connect.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmod error
		err := c.Control(func(fd uintptr) { chmod = syscall.Fchmod(int(fd), socketMode) })
		return errors.Join(err, chmod)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return fail(err)
	}
	unix := l.(*net.UnixListener)
	unix.SetUnlinkOnClose(false)
	own, err := os.Lstat(path)
	if err == nil && own.Mode().Perm()&^socketMode != 0 {
		err = fmt.Errorf("its mode is %s, and would let others in; is the file system one that ignores modes?", own.Mode().Perm())
	}
	if err != nil {
		return fail(errors.Join(err, unix.Close()))
	}
	return &socket{UnixListener: unix, path: path, own: own}, nil
}

// vacate makes sure that nothing stands at path.
func vacate(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("a file that is not a socket (%s) stands there; move it away, or choose another path with --socket", info.Mode())
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case err == nil:
		_ = conn.Close() // nothing was sent
		return fmt.Errorf("%w; end that agent first, or choose another path with --socket", ErrSocketInUse)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	// Neither refused nor answered: a server that is stuck is a live one too.
	return fmt.Errorf("%w, as it seems (%w); end it first, or choose another path with --socket", ErrSocketInUse, err)
}

// socket removes its file when it is closed.
type socket struct {
	*net.UnixListener
	path string
	own  fs.FileInfo
}

// Close stops listening, and removes the file if it is still this socket's: a
// newer agent may have replaced it.
func (s *socket) Close() error {
	var remove error
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.own) {
		remove = os.Remove(s.path)
	}
	return errors.Join(s.UnixListener.Close(), remove)
}
