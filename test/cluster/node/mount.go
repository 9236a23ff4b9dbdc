// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/cluster/layout"
)

// mount is one step of making the node's view of the file system.
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// stash is where a node finds the cluster's state folder.
const stash = "/run/weir-cluster"

// mounts in order. The machine's own file system shows through where nothing
// is mounted over it, so its programs are the node's.
func mounts(n layout.Node) []mount {
	own := filepath.Join(stash, n.Name())
	bind := func(name, target string) mount {
		return mount{source: filepath.Join(own, name), target: target, flags: unix.MS_BIND}
	}
	return []mount{
		// Nothing of the node may reach the machine.
		{target: "/", flags: unix.MS_REC | unix.MS_PRIVATE},
		{source: "proc", target: "/proc", kind: "proc"},
		// A new sysfs, of this network namespace; the control groups that
		// stood on the old one move over.
		{source: "tmpfs", target: "/run", kind: "tmpfs", data: "mode=755"},
		{source: "/sys/fs/cgroup", target: "/run/cgroup", flags: unix.MS_BIND | unix.MS_REC},
		{source: "sysfs", target: "/sys", kind: "sysfs"},
		{source: "/run/cgroup", target: "/sys/fs/cgroup", flags: unix.MS_MOVE},
		{source: "bpf", target: "/sys/fs/bpf", kind: "bpf", data: "mode=700"},
		// The state folder may be below what is covered now, so it is kept at
		// hand; its certificates come back to their place.
		{source: n.Settings.State, target: stash, flags: unix.MS_BIND},
		bind("lib", "/var/lib"),
		{source: filepath.Join(stash, "pki"), target: n.Settings.PKI(), flags: unix.MS_BIND},
		bind("log", "/var/log"),
		bind("opt", "/opt"),
		// The machine's /etc with the node's changes over it: a CNI's
		// configuration differs by node.
		{source: "overlay", target: "/etc", kind: "overlay", data: fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s",
			filepath.Join(own, "etc"), filepath.Join(own, "etc.work"))},
		// Pods ask for mounts that go both ways; the kubelet demands it.
		{target: "/", flags: unix.MS_REC | unix.MS_SHARED},
	}
}

// tunables are settings of the whole kernel that a kubelet changes if they are
// not as it wants. The node sees them as it wants, and the machine's stay.
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// prepare makes the node's file system.
func prepare(n layout.Node) error {
	for _, name := range []string{"lib/containerd", "lib/kubelet", "log/pods", "log/containers", "opt/cni/bin", "etc/cni/net.d", "etc.work"} {
		if err := os.MkdirAll(filepath.Join(n.Dir(), name), 0o755); err != nil {
			return err
		}
	}
	for _, m := range mounts(n) {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.source, m.target, hint(m, err))
		}
	}
	return hideTunables()
}

func hint(m mount, err error) error {
	if m.kind == "overlay" {
		return fmt.Errorf("%w (the state folder must be on ext4, xfs or tmpfs, not itself on an overlay; choose another with --state)", err)
	}
	return err
}

func hideTunables() error {
	for name, value := range tunables {
		if _, err := os.Stat(filepath.Join("/proc/sys", name)); errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without it; the kubelet will say so if it minds
		}
		file := filepath.Join("/run/tunables", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover /proc/sys/%s: %w", name, err)
		}
	}
	return nil
}
