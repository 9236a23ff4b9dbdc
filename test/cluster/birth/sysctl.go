// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// AwaitLinks reads standard input to its end: the starter closes it when the
// links are there. A starter that died closes it as well, so the link is
// looked for.
func AwaitLinks(name string) error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return fmt.Errorf("wait for links: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return fmt.Errorf("link %s: %w; the command that started this process has failed", name, err)
	}
	return nil
}

// sysctls of a network namespace that routes for pods. Addresses are not
// probed for duplicates, which costs a second or two: the harness hands out
// none twice.
var sysctls = []struct{ name, value string }{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv6/conf/all/forwarding", "1"},
	{"net/ipv6/conf/default/forwarding", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv6/conf/all/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_dad", "0"},
	// kube-proxy translates what a bridge forwards only with these.
	{"net/bridge/bridge-nf-call-iptables", "1"},
	{"net/bridge/bridge-nf-call-ip6tables", "1"},
}

// SetSysctls of the calling process's network namespace. One that the kernel
// does not have is left out: without br_netfilter there is no net/bridge.
func SetSysctls() error {
	for _, s := range sysctls {
		err := os.WriteFile(filepath.Join("/proc/sys", s.name), []byte(s.value), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
	}
	return nil
}
