// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
	"github.com/weirnet/weir/test/netns"
)

// Node is the name of the rig's node in spec.nodeName.
const Node = "here"

// Rig is a node with its policy. It is for one goroutine at a time.
type Rig struct {
	Node     *netns.Node
	Path     *datapath.Datapath
	Engine   *resolve.Engine
	Compiler *compile.Compiler

	options  datapath.Options
	bindings []datapath.Binding
	folder   string // of the lock
	log      *slog.Logger
}

// New makes a node without pods; name is at most 9 characters. Close removes
// it.
func New(name string, sizes datapath.Sizes, expectedPods uint32) (rig *Rig, err error) {
	rig = &Rig{log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("rig %s: %w", name, err), rig.Close())
		}
	}()
	if rig.Node, err = netns.NewNode(name, netns.Options{PodPrefix4: netip.MustParsePrefix("10.244.0.0/16")}); err != nil {
		return rig, err
	}
	if rig.folder, err = os.MkdirTemp("", "weir-"+name+"-"); err != nil {
		return rig, err
	}
	rig.options = datapath.Options{
		PinDir: "/sys/fs/bpf/" + filepath.Base(rig.folder), LockPath: filepath.Join(rig.folder, "lock"),
		Sizes: sizes, ExpectedPods: expectedPods,
	}
	return rig, rig.Inside(rig.load)
}

func (r *Rig) load() (err error) {
	r.Engine, r.Compiler = resolve.New(Node, resolve.Marks{}), compile.New()
	r.Path, err = datapath.Load(r.options, r.log)
	return err
}

// Reset makes the kernel's state and policy as on a node where weir never ran,
// with the same pods bound.
func (r *Rig) Reset() error {
	err := errors.Join(r.unload(), r.Inside(r.load))
	if err != nil {
		return err
	}
	return r.bind(r.bindings)
}

func (r *Rig) unload() error {
	var errs []error
	if r.Path != nil {
		errs = append(errs, r.Path.Close())
		r.Path = nil
	}
	return errors.Join(append(errs, r.Inside(func() error { return datapath.Cleanup(r.options, r.log) }))...)
}

// AddPod makes a pod with a veth, and binds it.
func (r *Rig) AddPod(pod *policy.Pod) (*netns.Pod, error) {
	made, err := r.Node.AddPod(fmt.Sprint(len(r.Node.Pods)), pod.IPs...)
	if err != nil {
		return nil, err
	}
	r.bindings = append(r.bindings, datapath.Binding{
		Ifindex: made.Ifindex, Ifname: made.Ifname, Pod: pod.ObjectKey, UID: pod.UID, Addrs: pod.IPs, Mode: bpf.WeirModeMODE_ENFORCE,
	})
	return made, r.bind(r.bindings[len(r.bindings)-1:])
}

func (r *Rig) bind(bindings []datapath.Binding) error {
	return r.Inside(func() error {
		for _, b := range bindings {
			if err := r.Path.Bind(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// Finish ends the start, as the agent does when all pods are bound.
func (r *Rig) Finish() error { return r.Inside(r.Path.Finish) }

// Cost is the time of each step of a change.
type Cost struct{ Resolve, Compile, Apply time.Duration }

// Total of the steps.
func (c Cost) Total() time.Duration { return c.Resolve + c.Compile + c.Apply }

// Change brings a change into the maps.
func (r *Rig) Change(b policy.Batch) (*compile.Update, Cost, error) {
	begun := time.Now()
	delta := r.Engine.Apply(b)
	resolved := time.Now()
	update := r.Compiler.Compile(delta)
	compiled := time.Now()
	err := r.Path.Apply(*update)
	return update, Cost{resolved.Sub(begun), compiled.Sub(resolved), time.Since(compiled)}, err
}

// Collect deletes what no set refers to any more.
func (r *Rig) Collect() error {
	update := r.Compiler.Compile(r.Engine.Collect())
	return r.Path.Apply(*update)
}

// Programs are those that weir has attached to a veth, in the order of
// policy.Directions. They stay on the hook when they are closed.
func (r *Rig) Programs(ifindex int) ([2]*ebpf.Program, error) {
	var programs [2]*ebpf.Program
	hooks := [2]ebpf.AttachType{policy.Ingress: ebpf.AttachTCXEgress, policy.Egress: ebpf.AttachTCXIngress}
	err := r.Inside(func() error {
		for direction, hook := range hooks {
			found, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: hook})
			if err != nil {
				return fmt.Errorf("look at %s of interface %d: %w", hook, ifindex, err)
			}
			if len(found.Programs) == 0 {
				return fmt.Errorf("no program at %s of interface %d", hook, ifindex)
			}
			if programs[direction], err = ebpf.NewProgramFromID(found.Programs[0].ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return programs, errors.Join(err, programs[0].Close(), programs[1].Close())
	}
	return programs, nil
}

// Map opens a map that a program uses, by its name of at most 15 characters.
func Map(program *ebpf.Program, name string) (*ebpf.Map, error) {
	info, err := program.Info()
	if err != nil {
		return nil, err
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return nil, fmt.Errorf("map %d of %s: %w", id, program, err)
		}
		of, err := m.Info()
		if err == nil && of.Name == name {
			return m, nil
		}
		if err := errors.Join(err, m.Close()); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("map %s: %s uses none of that name", name, program)
}

// Inside calls f in the node's network namespace.
func (r *Rig) Inside(f func() error) error { return r.Node.Do(f) }

// Close removes everything.
func (r *Rig) Close() error {
	var errs []error
	if r.Node != nil && r.Node.Namespace != nil && r.folder != "" {
		errs = append(errs, r.unload())
	}
	if r.Node != nil {
		errs = append(errs, r.Node.Close())
	}
	if r.folder != "" {
		errs = append(errs, os.RemoveAll(r.folder))
	}
	return errors.Join(errs...)
}
