// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weirnet/weir/policy"
)

// ServiceOf names the Service that an EndpointSlice belongs to, by its label
// kubernetes.io/service-name. False: it belongs to none.
func ServiceOf(slice *discoveryv1.EndpointSlice) (policy.ObjectKey, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" || slice.Namespace == "" {
		return policy.ObjectKey{}, false
	}
	return policy.ObjectKey{Namespace: slice.Namespace, Name: name}, true
}

// Service converts a Service with its EndpointSlices; those of other Services
// are skipped. The problems name addresses and ports that were left out. The
// error says that it has no name or namespace.
func Service(s *corev1.Service, endpoints []*discoveryv1.EndpointSlice) (*policy.Service, []string, error) {
	k, err := key(&s.ObjectMeta)
	if err != nil {
		return nil, nil, err
	}
	ips := serviceAddresses(s)
	out := &policy.Service{ObjectKey: k, IPs: ips.list}
	problems := ips.problems
	for i := range s.Spec.Ports {
		p, err := servicePort(&s.Spec.Ports[i])
		if err != nil {
			problems = append(problems, fmt.Sprintf("spec.ports[%d]: %v", i, err))
			continue
		}
		out.Ports = append(out.Ports, p)
	}
	for _, slice := range endpoints {
		if owner, ok := ServiceOf(slice); !ok || owner != k {
			continue
		}
		problems = append(problems, addBackends(out.Ports, slice)...)
	}
	for i := range out.Ports {
		b := out.Ports[i].Backends
		slices.SortFunc(b, netip.AddrPort.Compare)
		out.Ports[i].Backends = slices.Compact(b)
	}
	return out, problems, nil
}

// serviceAddresses are those that a node translates. A headless Service and an
// ExternalName have none, whatever else their fields say: nothing listens on
// them, and a packet to an externalIP of theirs stays as it is.
func serviceAddresses(s *corev1.Service) addresses {
	var out addresses
	cluster := s.Spec.ClusterIPs
	if len(cluster) == 0 && s.Spec.ClusterIP != "" {
		cluster = []string{s.Spec.ClusterIP}
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName || len(cluster) == 0 || cluster[0] == corev1.ClusterIPNone {
		return out
	}
	for i, ip := range cluster {
		out.add(fmt.Sprintf("spec.clusterIPs[%d]", i), ip)
	}
	for i, ip := range s.Spec.ExternalIPs {
		out.add(fmt.Sprintf("spec.externalIPs[%d]", i), ip)
	}
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return out
	}
	for i, in := range s.Status.LoadBalancer.Ingress {
		// ipMode Proxy: packets go to the load balancer itself.
		proxy := in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy
		if in.IP != "" && !proxy {
			out.add(fmt.Sprintf("status.loadBalancer.ingress[%d].ip", i), in.IP)
		}
	}
	return out
}

func servicePort(p *corev1.ServicePort) (policy.ServicePort, error) {
	out := policy.ServicePort{Name: p.Name}
	var err error
	if out.Protocol, err = protocolOrTCP(p.Protocol); err != nil {
		return out, err
	}
	if out.Number, err = portNumber(p.Port); err != nil {
		return out, fmt.Errorf("port: %w", err)
	}
	if p.NodePort == 0 {
		return out, nil
	}
	if out.NodePort, err = portNumber(p.NodePort); err != nil {
		return out, fmt.Errorf("nodePort: %w", err)
	}
	return out, nil
}

// addBackends adds the endpoints of slice to the ports of equal name and
// protocol.
func addBackends(ports []policy.ServicePort, slice *discoveryv1.EndpointSlice) []string {
	if slice.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	addrs, problems := backendAddresses(slice)
	for i, p := range slice.Ports {
		if p.Port == nil {
			continue // "all ports": no proxy forwards to such an endpoint
		}
		number, err := portNumber(*p.Port)
		if err != nil {
			problems = append(problems, fmt.Sprintf("EndpointSlice %s: ports[%d]: %v", slice.Name, i, err))
			continue
		}
		for j := range ports {
			if !servesPort(&ports[j], &p) {
				continue
			}
			for _, addr := range addrs {
				ports[j].Backends = append(ports[j].Backends, netip.AddrPortFrom(addr, number))
			}
		}
	}
	return problems
}

func servesPort(s *policy.ServicePort, p *discoveryv1.EndpointPort) bool {
	var name string
	if p.Name != nil {
		name = *p.Name
	}
	var proto corev1.Protocol
	if p.Protocol != nil {
		proto = *p.Protocol
	}
	number, err := protocolOrTCP(proto)
	return err == nil && s.Protocol == number && s.Name == name
}

// backendAddresses are the first addresses (the API gives the others no
// meaning) of endpoints that may get traffic: ready ones, and those that end
// but still serve, which a proxy falls back to.
func backendAddresses(slice *discoveryv1.EndpointSlice) ([]netip.Addr, []string) {
	var out addresses
	for i, e := range slice.Endpoints {
		ready := e.Conditions.Ready == nil || *e.Conditions.Ready
		serving := e.Conditions.Serving != nil && *e.Conditions.Serving
		if len(e.Addresses) > 0 && (ready || serving) {
			out.add(fmt.Sprintf("EndpointSlice %s: endpoints[%d]", slice.Name, i), e.Addresses[0])
		}
	}
	return out.list, out.problems
}
