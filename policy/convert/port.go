// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"errors"
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weirnet/weir/policy"
)

// port converts one entry of a rule's ports.
func port(p *networkingv1.NetworkPolicyPort) (policy.Port, error) {
	var out policy.Port
	var err error
	// A field that is there but empty is not the default: the API server
	// refuses it.
	if p.Protocol == nil {
		out.Protocol = policy.TCP
	} else if out.Protocol, err = protocol(*p.Protocol); err != nil {
		return policy.Port{}, err
	}
	switch {
	case p.Port == nil && p.EndPort != nil:
		return policy.Port{}, errors.New("endPort without port: set port to the first number of the range")
	case p.Port == nil:
		out.First, out.Last = 0, math.MaxUint16
		return out, nil
	case p.Port.Type == intstr.String:
		out.Name, err = portName(p.Port.StrVal, p.EndPort)
	case p.Port.Type == intstr.Int:
		out.First, out.Last, err = portRange(p.Port.IntVal, p.EndPort)
	default:
		err = errors.New("port is neither a number nor a name")
	}
	if err != nil {
		return policy.Port{}, err
	}
	return out, nil
}

func portName(name string, endPort *int32) (string, error) {
	if endPort != nil {
		return "", fmt.Errorf("endPort %d with the named port %q: a range needs numbers", *endPort, name)
	}
	if faults := validation.IsValidPortName(name); len(faults) > 0 {
		return "", fmt.Errorf("port %q is not a port name (%s); a number is written without quotes", name, strings.Join(faults, ", "))
	}
	return name, nil
}

func portRange(first int32, endPort *int32) (uint16, uint16, error) {
	lo, err := portNumber(first)
	if err != nil {
		return 0, 0, fmt.Errorf("port: %w", err)
	}
	if endPort == nil {
		return lo, lo, nil
	}
	hi, err := portNumber(*endPort)
	if err != nil {
		return 0, 0, fmt.Errorf("endPort: %w", err)
	}
	if hi < lo {
		return 0, 0, fmt.Errorf("endPort %d is below port %d", hi, lo)
	}
	return lo, hi, nil
}

func portNumber(n int32) (uint16, error) {
	if n < 1 || n > math.MaxUint16 {
		return 0, fmt.Errorf("%d is not between 1 and 65535", n)
	}
	return uint16(n), nil
}

func protocol(name corev1.Protocol) (policy.Protocol, error) {
	switch name {
	case corev1.ProtocolTCP:
		return policy.TCP, nil
	case corev1.ProtocolUDP:
		return policy.UDP, nil
	case corev1.ProtocolSCTP:
		return policy.SCTP, nil
	}
	return 0, fmt.Errorf("protocol %q is none of TCP, UDP, SCTP", name)
}

// protocolOrTCP is for fields of pods and Services, where an empty string is
// an absent one.
func protocolOrTCP(name corev1.Protocol) (policy.Protocol, error) {
	if name == "" {
		return policy.TCP, nil
	}
	return protocol(name)
}
