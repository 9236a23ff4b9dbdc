// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirnet/weir/policy"
)

// Pod converts a Pod. The problems name addresses and ports that were left
// out; the pod is still there, since a pod that is unknown is not isolated.
// The error says that it has no name or namespace.
func Pod(p *corev1.Pod) (*policy.Pod, []string, error) {
	k, err := key(&p.ObjectMeta)
	if err != nil {
		return nil, nil, err
	}
	ips := podAddresses(&p.Status)
	ports := podPorts(&p.Spec)
	out := &policy.Pod{
		ObjectKey:   k,
		UID:         uid(&p.ObjectMeta),
		Labels:      p.Labels,
		Node:        p.Spec.NodeName,
		IPs:         ips.list,
		HostNetwork: p.Spec.HostNetwork,
		Terminal:    p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		Ports:       ports.named,
		HostPorts:   ports.host,
		Workload:    workload(&p.ObjectMeta),
	}
	// The host port of a hostNetwork pod is the node's own socket, and that
	// of a pod that has ended is nobody's: neither is translated.
	if out.HostNetwork || out.Terminal {
		out.HostPorts = nil
	}
	return out, append(ips.problems, ports.problems...), nil
}

// uid is the one that the container runtime knows. The API server gives the
// mirror of a static pod another than the kubelet gave the pod itself, which
// the kubelet notes in the mirror. Nobody gains by a forged note: it is
// compared only with what the runtime of the pod's own name says, and events
// about static pods carry that UID too.
func uid(meta *metav1.ObjectMeta) string {
	return cmp.Or(meta.Annotations[corev1.MirrorPodAnnotationKey], string(meta.UID))
}

func podAddresses(status *corev1.PodStatus) addresses {
	var out addresses
	for i, ip := range status.PodIPs {
		out.add(fmt.Sprintf("status.podIPs[%d]", i), ip.IP)
	}
	if len(status.PodIPs) == 0 && status.PodIP != "" {
		out.add("status.podIP", status.PodIP)
	}
	return out
}

// containerPorts collects the ports of containers that run as long as the pod
// does.
type containerPorts struct {
	named    []policy.NamedPort
	host     []policy.PortNumber
	problems []string
}

func podPorts(spec *corev1.PodSpec) containerPorts {
	var out containerPorts
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		// A sidecar. Other init containers have ended when the pod
		// serves, so their ports are not its ports.
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out.add(fmt.Sprintf("spec.initContainers[%d]", i), c.Ports)
		}
	}
	for i := range spec.Containers {
		out.add(fmt.Sprintf("spec.containers[%d]", i), spec.Containers[i].Ports)
	}
	return out
}

func (c *containerPorts) add(field string, ports []corev1.ContainerPort) {
	for i := range ports {
		if err := c.addPort(&ports[i]); err != nil {
			c.problems = append(c.problems, fmt.Sprintf("%s.ports[%d]: %v", field, i, err))
		}
	}
}

func (c *containerPorts) addPort(p *corev1.ContainerPort) error {
	proto, err := protocolOrTCP(p.Protocol)
	if err != nil {
		return err
	}
	number, err := portNumber(p.ContainerPort)
	if err != nil {
		return fmt.Errorf("containerPort: %w", err)
	}
	if p.Name != "" {
		c.named = append(c.named, policy.NamedPort{Name: p.Name, Protocol: proto, Number: number})
	}
	if p.HostPort == 0 {
		return nil
	}
	host, err := portNumber(p.HostPort)
	if err != nil {
		return fmt.Errorf("hostPort: %w", err)
	}
	c.host = append(c.host, policy.PortNumber{Protocol: proto, Number: host})
	return nil
}

// workload names the controller. A Deployment owns its pods through a
// ReplicaSet whose name is its own and the hash that each pod has as a label.
func workload(meta *metav1.ObjectMeta) policy.Workload {
	owner := metav1.GetControllerOfNoCopy(meta)
	if owner == nil {
		return policy.Workload{}
	}
	out := policy.Workload{Kind: owner.Kind, Name: owner.Name}
	hash := meta.Labels["pod-template-hash"]
	if owner.Kind != "ReplicaSet" || hash == "" {
		return out
	}
	if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && name != "" {
		return policy.Workload{Kind: "Deployment", Name: name}
	}
	return out
}
