// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"

	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weirnet/weir/test/netns"
	testnode "github.com/weirnet/weir/test/node"
)

// name of the stage's network namespaces, and of its control group.
const name = "wscale"

// server is the address that the API server's certificate is for.
var server = netip.MustParseAddr("198.18.0.1")

// Options of a Stage.
type Options struct {
	State     string // folder of everything that is written; it is removed
	Bin       string // folder of weir-agent, weir, weir-cluster, kwok
	Cluster   string // folder of the module test/cluster
	Stages    string // folder of kwok's stages, kustomize/stage in its module
	Manifests string // deploy/install.yaml
	Local     int    // pods of the node
	// Routed are the ranges of the fake pods: the host beside the node has all
	// of their addresses.
	Routed []netip.Prefix
	Logs   string // folder for the logs of the processes; it stays
}

// Stage is a node and a cluster for it.
type Stage struct {
	Node  *netns.Node
	Addrs [][]netip.Addr // of local pods
	// Admin may do all.
	Admin kubernetes.Interface
	// Limit of the agent's memory in bytes, as in the chart; 0: none.
	Limit uint64

	options Options
	lock    *os.File
	config  *rest.Config
	api     *exec.Cmd
	kwok    *exec.Cmd
	group   group
}

// New builds the stage and starts the API server. What a run that was killed
// left is removed first.
func New(ctx context.Context, o Options) (*Stage, error) {
	s := &Stage{options: o}
	if err := s.build(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stage) build(ctx context.Context) (err error) {
	if s.lock, err = lock(s.options.State); err != nil {
		return err
	}
	if err := removeLeft(ctx); err != nil {
		return fmt.Errorf("what a former run left: %w", err)
	}
	if err := os.RemoveAll(s.dir("")); err != nil {
		return err
	}
	for _, dir := range []string{s.dir(""), s.options.Logs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if s.group, err = makeGroup(); err != nil {
		return err
	}
	if err := s.buildNode(); err != nil {
		return err
	}
	if err := s.startAPI(ctx); err != nil {
		return err
	}
	return s.applyManifests(ctx)
}

// lock the state folder against a second run, by a file beside it.
func lock(state string) (*os.File, error) {
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(state, "lock"))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w; another run works there: wait for its end", f.Name(), err)
	}
	return f, nil
}

// dir is a path below the part of the state folder that is removed.
func (s *Stage) dir(path string) string { return filepath.Join(s.options.State, "run", path) }

func (s *Stage) buildNode() (err error) {
	if s.Node, err = netns.NewNode(name, netns.Options{}); err != nil {
		return err
	}
	for i := range s.options.Local {
		addrs := testnode.Dual(byte(i + 10))
		s.Addrs = append(s.Addrs, addrs)
		if _, err := s.Node.AddPod(fmt.Sprintf("p%03d", i), addrs...); err != nil {
			return err
		}
	}
	return s.wireOutside()
}

// wireOutside gives the host beside the node the API server's address and all
// those of the fake pods.
func (s *Stage) wireOutside() error {
	outside, node := s.Node.Outside.Link, s.Node.Link
	lo, err := outside.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := outside.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(server, 32))}); err != nil {
		return fmt.Errorf("address %s: %w", server, err)
	}
	route := func(to netip.Prefix) error {
		via := netns.OutsideAddr4
		if to.Addr().Is6() {
			via = netns.OutsideAddr6
		}
		if err := node.RouteReplace(&netlink.Route{Dst: ipNet(to), Gw: via.AsSlice()}); err != nil {
			return fmt.Errorf("route to %s: %w", to, err)
		}
		return nil
	}
	errs := []error{route(netip.PrefixFrom(server, 32))}
	for _, p := range s.options.Routed {
		local := &netlink.Route{
			LinkIndex: lo.Attrs().Index, Dst: ipNet(p), Scope: netlink.SCOPE_HOST,
			Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL,
		}
		if err := outside.RouteReplace(local); err != nil {
			errs = append(errs, fmt.Errorf("addresses %s: %w", p, err))
		}
		errs = append(errs, route(p))
	}
	return errors.Join(errs...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Close ends every process of the stage and removes it.
func (s *Stage) Close() error {
	errs := []error{testnode.End(s.kwok), testnode.End(s.api)}
	if s.Node != nil {
		errs = append(errs, s.Node.Close())
	}
	errs = append(errs, s.group.remove())
	if s.lock != nil { // else all of it is another run's
		errs = append(errs, os.RemoveAll(s.options.State), s.lock.Close())
	}
	return errors.Join(errs...)
}
