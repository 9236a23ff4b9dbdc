// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// release is a kernel's version, major and minor.
type release struct {
	major, minor int
	text         string // as uname gives it
}

func (r release) atLeast(major, minor int) bool {
	return r.major > major || r.major == major && r.minor >= minor
}

func kernelRelease() (release, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return release{}, fmt.Errorf("read the kernel's release: %w", err)
	}
	return parseRelease(unix.ByteSliceToString(name.Release[:]))
}

func parseRelease(text string) (release, error) {
	r := release{text: text}
	if _, err := fmt.Sscanf(text, "%d.%d", &r.major, &r.minor); err != nil {
		return r, fmt.Errorf("read the kernel's release %q: %w", text, err)
	}
	return r, nil
}

func (r release) check() error {
	if r.atLeast(5, 10) {
		return nil
	}
	return fmt.Errorf("kernel %s is too old: weir needs 5.10 or later", r.text)
}

// capability numbers and what weir needs each for.
var neededCapabilities = [...]struct {
	number int
	name   string
	use    string
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "attaching programs to network interfaces"},
	{unix.CAP_BPF, "CAP_BPF", "loading BPF programs and maps"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "programs that handle kernel pointers"},
}

// checkCapabilities has one line for each that is missing. CAP_SYS_ADMIN
// contains the two of BPF.
func checkCapabilities() error {
	have, err := effectiveCapabilities()
	if err != nil {
		return err
	}
	admin := has(have, unix.CAP_SYS_ADMIN)
	var errs []error
	for _, c := range neededCapabilities {
		if !has(have, c.number) && (!admin || c.number == unix.CAP_NET_ADMIN) {
			errs = append(errs, fmt.Errorf("missing %s, needed for %s: run as root, or add the capability to the agent's container", c.name, c.use))
		}
	}
	return errors.Join(errs...)
}

func effectiveCapabilities() ([2]unix.CapUserData, error) {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return data, fmt.Errorf("read own capabilities: %w", err)
	}
	return data, nil
}

func has(data [2]unix.CapUserData, capability int) bool {
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

const bpffsRoot = "/sys/fs/bpf"

// ensureBPFFS sees that dir can hold pins. The usual place is mounted if
// nothing is there; any other is the operator's to mount.
func ensureBPFFS(dir string, log *slog.Logger) error {
	on, err := onBPFFS(dir)
	if err != nil || on {
		return err
	}
	if dir != bpffsRoot && !strings.HasPrefix(dir, bpffsRoot+"/") {
		return fmt.Errorf("pin directory %s is not in a BPF file system: mount one with `mount -t bpf bpf %s`", dir, filepath.Dir(dir))
	}
	if err := unix.Mount("bpf", bpffsRoot, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount the BPF file system at %s: %w; mount it on the node, or give the agent CAP_SYS_ADMIN", bpffsRoot, err)
	}
	log.Warn("mounted the BPF file system, which was missing; inside a container it goes away with the container, and enforcement with it, unless the mount propagates to the node", "path", bpffsRoot)
	return nil
}

// onBPFFS looks at the nearest directory above dir that exists.
func onBPFFS(dir string) (bool, error) {
	for {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		if err == nil {
			return uint32(fs.Type) == unix.BPF_FS_MAGIC, nil
		}
		if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			return false, fmt.Errorf("look at pin directory %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}
