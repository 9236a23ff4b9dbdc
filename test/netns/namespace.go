// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a named network namespace that this process made.
type Namespace struct {
	Name   string
	handle vnetns.NsHandle
	// Link speaks netlink inside the namespace.
	Link *netlink.Handle
}

// Path is where the namespace is mounted, for setns and nsenter.
func (n *Namespace) Path() string { return "/run/netns/" + n.Name }

// NewNamespace makes a namespace with its loopback up. A namespace of that
// name left by a run that died is removed first.
func NewNamespace(name string) (*Namespace, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := vnetns.Get()
	if err != nil {
		return nil, fmt.Errorf("own network namespace: %w", err)
	}
	defer home.Close()
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return nil, err
	}
	_ = vnetns.DeleteNamed(name)
	handle, err := vnetns.NewNamed(name)
	if err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	if err := vnetns.Set(home); err != nil {
		return nil, fmt.Errorf("return from network namespace %s: %w", name, err)
	}
	link, err := netlink.NewHandleAt(handle, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink in %s: %w", name, err)
	}
	ns := &Namespace{Name: name, handle: handle, Link: link}
	lo, err := link.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("loopback of %s: %w", name, err)
	}
	// While a link-local address is looked for on its link, for a second or
	// two, the namespace asks for no IPv6 neighbour from there.
	for _, which := range []string{"all", "default"} {
		if err := ns.Sysctl("net/ipv6/conf/"+which+"/accept_dad", "0"); err != nil {
			return ns, fmt.Errorf("duplicate address detection of %s: %w", name, err)
		}
	}
	return ns, link.LinkSetUp(lo)
}

// Do runs f on a thread inside the namespace. Sockets that f opens stay in
// the namespace; goroutines that f starts do not run in it.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked if it cannot go back: the runtime then
		// ends it, so that nobody else runs in the wrong namespace.
		runtime.LockOSThread()
		home, err := vnetns.Get()
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		if err := vnetns.Set(n.handle); err != nil {
			done <- fmt.Errorf("enter %s: %w", n.Name, err)
			return
		}
		err = f()
		if back := vnetns.Set(home); back != nil {
			done <- errors.Join(err, back)
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// Sysctl sets a value of the namespace, e.g. "net/ipv4/ip_forward".
func (n *Namespace) Sysctl(path, value string) error {
	return n.Do(func() error {
		return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644)
	})
}

// Close removes the namespace.
func (n *Namespace) Close() error {
	n.Link.Close()
	n.handle.Close()
	if err := vnetns.DeleteNamed(n.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", n.Name, err)
	}
	return nil
}
