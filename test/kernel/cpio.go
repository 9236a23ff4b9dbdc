// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"io"
	"path"
)

// cpio writes an archive in the format "newc" of an initramfs (the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst). Everything
// belongs to root; directories above a file are written before it.
type cpio struct {
	w     io.Writer
	inode uint32
	made  map[string]bool
	err   error // the first; nothing is written after it
}

const (
	modeDirectory = 0o040755
	modeFile      = 0o100755
	modeDevice    = 0o020600
)

func newCpio(w io.Writer) *cpio { return &cpio{w: w, made: map[string]bool{".": true}} }

// file writes a file that may be executed; name has no slash in front.
func (c *cpio) file(name string, content []byte) {
	c.directory(path.Dir(name))
	c.entry(name, modeFile, 0, 0, content)
}

func (c *cpio) directory(name string) {
	if c.made[name] {
		return
	}
	c.made[name] = true
	c.directory(path.Dir(name))
	c.entry(name, modeDirectory, 0, 0, nil)
}

func (c *cpio) device(name string, major, minor uint32) {
	c.directory(path.Dir(name))
	c.entry(name, modeDevice, major, minor, nil)
}

// close writes the trailer.
func (c *cpio) close() error {
	c.entry("TRAILER!!!", 0, 0, 0, nil)
	return c.err
}

func (c *cpio) entry(name string, mode, major, minor uint32, content []byte) {
	c.inode++
	header := "070701"
	for _, field := range []uint32{
		c.inode, mode, 0, 0, 1, 0, uint32(len(content)), 0, 0, major, minor, uint32(len(name) + 1), 0,
	} {
		header += fmt.Sprintf("%08X", field)
	}
	// Header and name together, and the content, end at a multiple of 4.
	header += name + "\x00"
	c.write([]byte(header))
	c.write(make([]byte, -len(header)&3))
	c.write(content)
	c.write(make([]byte, -len(content)&3))
}

func (c *cpio) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}
