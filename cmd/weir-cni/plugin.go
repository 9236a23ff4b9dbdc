// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	weirv1 "github.com/weirnet/weir/api/v1"
)

// add announces the pod. What cannot be read of the call itself is an error in
// either failure mode: no later call could be better.
func add(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	result, err := c.result()
	if err != nil {
		return err
	}
	p, err := parsePod(args.Args)
	if err != nil {
		return err
	}
	if p.isPod() {
		err = enforce(c, args, p, addresses(result, args.IfName, args.Netns))
	}
	if err != nil && c.Failure == "closed" {
		return types.NewError(types.ErrTryAgainLater, fmt.Sprintf("pod %s/%s does not start without its network policy", p.Namespace, p.Name), err.Error())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "weir-cni: pod %s/%s starts before its network policy is in force: %v\n", p.Namespace, p.Name, err)
	}
	return types.PrintResult(c.PrevResult, c.CNIVersion)
}

// enforce returns when the pod's policy is in force.
func enforce(c *config, args *skel.CmdArgs, p pod, ips []string) error {
	if p.UID == "" {
		return fmt.Errorf("the container runtime names no K8S_POD_UID in CNI_ARGS; weir needs it to tell a pod from the next of its name: update the runtime")
	}
	veth, err := hostVeth(args.Netns, args.IfName)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.limit)
	defer cancel()
	return announce(ctx, c.Socket, &weirv1.AnnounceRequest{
		Namespace: p.Namespace, Name: p.Name, Uid: p.UID, Ips: ips, Interface: veth,
	})
}

// check fails unless the agent shows the pod enforced or audited.
func check(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	if _, err := c.result(); err != nil {
		return err
	}
	p, err := parsePod(args.Args)
	if err != nil || !p.isPod() {
		return err
	}
	veth, err := hostVeth(args.Netns, args.IfName)
	if err != nil {
		return types.NewError(types.ErrUnknownContainer, "check of "+p.Namespace+"/"+p.Name, err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.limit)
	defer cancel()
	return verify(ctx, c.Socket, p, veth)
}

// del takes the announcement back. The end of the veth tells the agent as
// well, so nothing is lost where it does not answer.
func del(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	p, err := parsePod(args.Args)
	if err != nil || !p.isPod() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), retractLimit)
	defer cancel()
	if err := retract(ctx, c.Socket, p); err != nil {
		fmt.Fprintf(os.Stderr, "weir-cni: pod %s/%s ends without the agent: %v\n", p.Namespace, p.Name, err)
	}
	return nil
}

// status: an ADD that lets pods start in any case is always available.
func status(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil || c.Failure == "open" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.limit)
	defer cancel()
	if err := reach(ctx, c.Socket); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, "no pod can start on this node", err.Error())
	}
	return nil
}
