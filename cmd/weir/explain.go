// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

type explainFlags struct {
	port      string
	protocol  string
	namespace string
}

func newExplain(s *session, name string) *cobra.Command {
	var form form
	var flags explainFlags
	c := &cobra.Command{
		Use:   "explain SRC DST --port N[/PROTO]",
		Short: "Says whether SRC may reach DST, and which rule decides at each end",
		Long: `Says whether SRC may reach DST: the egress policy of the one and the ingress
policy of the other, each rule with why it matches or not, the deciding one
marked with =>, and whether the maps in the kernel answer the same. No packet
is sent, and the flow need not exist.

SRC and DST are pods, NAMESPACE/NAME, or addresses. With a pod the port is the
pod's own. With a Service's address it is the Service's, and each backend is
judged: policy is decided after translation.

A denial is an answer: the exit code is 0.`,
		Example: examples(name,
			"explain shop/web shop/db --port 5432",
			"explain -n shop web db --port 53/udp",
			"explain shop/web 203.0.113.7 --port 443",
			"explain shop/web shop/db --protocol icmp"),
		Args: positional(cobra.ExactArgs(2), "two arguments, SRC and DST"),
		RunE: func(c *cobra.Command, args []string) error {
			request, err := flags.request(args[0], args[1])
			if err = errors.Join(err, form.check(c)); err != nil {
				return wrong(c, err)
			}
			var answer *pb.ExplainResponse
			hint := name + " endpoints lists the pods of this node"
			err = s.call(c.Context(), hint, func(ctx context.Context, agent *client.Client) (err error) {
				answer, err = agent.Policies.Explain(ctx, request)
				return err
			})
			if err != nil {
				return err
			}
			return form.write(s, answer, func() error { return output.Explanation(s.out, request, answer, s.style()) })
		},
	}
	c.Flags().StringVar(&flags.port, "port", "", "port of the destination, N or N/PROTO with tcp, udp or sctp (default tcp)")
	c.Flags().StringVar(&flags.protocol, "protocol", "", "protocol, by name or number; needed for those without ports")
	c.Flags().StringVarP(&flags.namespace, "namespace", "n", "", "namespace of pods that are given by NAME alone")
	c.ValidArgsFunction = completeArguments(2, s.ask(pods))
	complete(c, "namespace", s.ask(namespaces))
	completeWith(c, "protocol", "tcp", "udp", "sctp", "icmp", "icmpv6")
	form.flag(c)
	return c
}

func (f *explainFlags) request(source, destination string) (*pb.ExplainRequest, error) {
	from, err1 := explainEnd("SRC", source, f.namespace)
	to, err2 := explainEnd("DST", destination, f.namespace)
	protocol, port, err3 := f.service()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return &pb.ExplainRequest{Source: from, Destination: to, Protocol: protocol, Port: port}, nil
}

// explainEnd reads a pod or an address.
func explainEnd(which, text, namespace string) (string, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap().WithZone("").String(), nil
	}
	ref, err := objectName(text, namespace)
	if err != nil {
		return "", fmt.Errorf("%s: %q is neither a pod, NAMESPACE/NAME, nor an address; a NAME alone needs -n", which, text)
	}
	return ref.GetNamespace() + "/" + ref.GetName(), nil
}

func (f *explainFlags) service() (protocol, port uint32, err error) {
	number, suffix, _ := strings.Cut(f.port, "/")
	if suffix != "" && f.protocol != "" && !strings.EqualFold(suffix, f.protocol) {
		return 0, 0, fmt.Errorf("--port %s and --protocol %s name two protocols", f.port, f.protocol)
	}
	name := suffix
	if name == "" {
		name = f.protocol
	}
	if name == "" {
		if f.port == "" {
			return 0, 0, errors.New("name what to reach: --port 8080, --port 53/udp, or --protocol icmp")
		}
		name = "tcp"
	}
	if protocol, err = parseProtocol(name); err != nil {
		return 0, 0, err
	}
	if !protocolHasPorts(protocol) {
		if f.port != "" {
			return 0, 0, fmt.Errorf("--port %s: %s has no ports; use --protocol %s alone", f.port, name, name)
		}
		return protocol, 0, nil
	}
	if number == "" {
		return 0, 0, fmt.Errorf("--port is missing, which %s needs: --port N/%s", name, name)
	}
	value, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("--port %s: %q is not a port number, 0 to 65535", f.port, number)
	}
	return protocol, uint32(value), nil
}
