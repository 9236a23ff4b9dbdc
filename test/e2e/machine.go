// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
)

// Machine is the program weir-cluster of test/cluster, by its path: power over
// the nodes of its cluster that the API does not give. weir-traffic stands
// beside it.
type Machine string

// Exec a command in a node, or in control-plane.
func (m Machine) Exec(ctx context.Context, node string, command ...string) (string, error) {
	return m.run(ctx, append([]string{"exec", node, "--"}, command...)...)
}

// Get a page from inside a node.
func (m Machine) Get(ctx context.Context, node, url string) (string, error) {
	return m.Exec(ctx, node, filepath.Join(filepath.Dir(string(m)), "weir-traffic"), "get", url)
}

// Freeze a node or the control plane: all that it is, and silent.
func (m Machine) Freeze(ctx context.Context, name string) error { return m.only(ctx, "freeze", name) }

// Thaw what was frozen.
func (m Machine) Thaw(ctx context.Context, name string) error { return m.only(ctx, "thaw", name) }

// Route an address to a node from where this process is, the outside.
func (Machine) Route(ctx context.Context, to, via netip.Addr) error {
	return ip(ctx, "route", "replace", netip.PrefixFrom(to, to.BitLen()).String(), "via", via.String())
}

// Unroute the address again.
func (Machine) Unroute(ctx context.Context, to netip.Addr) error {
	return ip(ctx, "route", "delete", netip.PrefixFrom(to, to.BitLen()).String())
}

func ip(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Reboot a node: all processes, mounts, links and BPF objects go, its disk stays.
func (m Machine) Reboot(ctx context.Context, name string) error { return m.only(ctx, "reboot", name) }

func (m Machine) only(ctx context.Context, args ...string) error {
	_, err := m.run(ctx, args...)
	return err
}

func (m Machine) run(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, string(m), args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s %s: %w: %s", filepath.Base(string(m)), strings.Join(args, " "), err, text)
	}
	return text, nil
}
