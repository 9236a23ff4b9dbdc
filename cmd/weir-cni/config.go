// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	cniversion "github.com/containernetworking/cni/pkg/version"
)

// config is the plugin's element of the list, as the agent wrote it.
type config struct {
	types.PluginConf
	Socket  string `json:"socket"`
	Failure string `json:"failure"` // closed, open
	Timeout string `json:"timeout"`

	limit time.Duration
}

const (
	defaultSocket = "/run/weir/agent.sock"
	defaultLimit  = 10 * time.Second
)

// parseConfig fills in what is absent; a failure mode that is not known is
// taken for no other.
func parseConfig(stdin []byte) (*config, error) {
	c := &config{Socket: defaultSocket, Failure: "closed", limit: defaultLimit}
	if err := json.Unmarshal(stdin, c); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "configuration of weir-cni", err.Error())
	}
	if c.Failure != "closed" && c.Failure != "open" {
		return nil, invalid("failure is %q; it may be closed or open", c.Failure)
	}
	if c.Timeout != "" {
		limit, err := time.ParseDuration(c.Timeout)
		if err != nil || limit <= 0 {
			return nil, invalid("timeout is %q; give it as 10s", c.Timeout)
		}
		c.limit = limit
	}
	if err := cniversion.ParsePrevResult(&c.PluginConf); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "prevResult of weir-cni", err.Error())
	}
	return c, nil
}

func invalid(format string, args ...any) error {
	return types.NewError(types.ErrInvalidNetworkConfig, "configuration of weir-cni", fmt.Sprintf(format, args...))
}

// result of the plugins before this one.
func (c *config) result() (*current.Result, error) {
	if c.PrevResult == nil {
		return nil, invalid("no prevResult: weir-cni makes no interface, it stands behind a plugin that does")
	}
	return current.NewResultFromResult(c.PrevResult)
}

// pod is what the runtime tells in CNI_ARGS.
type pod struct {
	Namespace, Name, UID string
}

type podArgs struct {
	types.CommonArgs
	K8S_POD_NAMESPACE types.UnmarshallableString
	K8S_POD_NAME      types.UnmarshallableString
	K8S_POD_UID       types.UnmarshallableString
}

// parsePod is empty for a container that is no pod of Kubernetes.
func parsePod(args string) (pod, error) {
	known := podArgs{CommonArgs: types.CommonArgs{IgnoreUnknown: true}}
	if err := types.LoadArgs(args, &known); err != nil {
		return pod{}, types.NewError(types.ErrInvalidEnvironmentVariables, "CNI_ARGS", err.Error())
	}
	return pod{string(known.K8S_POD_NAMESPACE), string(known.K8S_POD_NAME), string(known.K8S_POD_UID)}, nil
}

func (p pod) isPod() bool { return p.Namespace != "" && p.Name != "" }

// addresses that the result gives to the interface.
func addresses(r *current.Result, ifname, netns string) []string {
	var out []string
	for _, ip := range r.IPs {
		if ip.Interface != nil && *ip.Interface >= 0 && *ip.Interface < len(r.Interfaces) {
			i := r.Interfaces[*ip.Interface]
			if i.Name != ifname || i.Sandbox != netns {
				continue // of another interface, e.g. a second network
			}
		}
		out = append(out, ip.Address.IP.String())
	}
	return out
}
