// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The ports that every pod of the tests listens on.
const (
	portTCP = 8080
	portUDP = 8081
)

const podLimit = 90 * time.Second

func portName(name string) intstr.IntOrString { return intstr.FromString(name) }

// Pod that serves on both ports and can call others.
type Pod struct {
	Name      string
	Node      Node
	Addresses []netip.Addr
	namespace *Namespace
	traffic   bool // runs weir-traffic, not agnhost
}

// PodOptions say how a pod differs from the plain one.
type PodOptions struct {
	Node        Node
	Labels      map[string]string // the label app is the pod's name, if not given
	HostNetwork bool
	Probes      bool   // liveness and readiness every second, one failure counts
	Once        bool   // its process ends, and is not started again
	Secret      string // of its namespace, in the folder secretFolder; empty: none
}

const secretFolder = "/secret"

// Pod makes a pod and waits until it is ready.
func (n *Namespace) Pod(name string, o PodOptions) *Pod {
	n.t.Helper()
	p := n.StartPod(name, o)
	p.AwaitReady()
	return p
}

// StartPod makes a pod and does not wait.
func (n *Namespace) StartPod(name string, o PodOptions) *Pod {
	n.t.Helper()
	container := corev1.Container{
		Name:  "agnhost",
		Image: image(),
		Args:  []string{"netexec", fmt.Sprintf("--http-port=%d", portTCP), fmt.Sprintf("--udp-port=%d", portUDP)},
		Ports: []corev1.ContainerPort{
			{Name: "tcp", ContainerPort: portTCP},
			{Name: "udp", ContainerPort: portUDP, Protocol: corev1.ProtocolUDP},
		},
		ReadinessProbe: httpProbe("/healthz", 3),
	}
	if o.Probes {
		container.LivenessProbe, container.ReadinessProbe = httpProbe("/healthz", 1), httpProbe("/healthz", 1)
	}
	return n.start(name, o, container)
}

func (n *Namespace) start(name string, o PodOptions, container corev1.Container) *Pod {
	n.t.Helper()
	labels := map[string]string{"app": name}
	for k, v := range o.Labels {
		labels[k] = v
	}
	none := int64(0)
	restart := corev1.RestartPolicyAlways
	if o.Once {
		restart = corev1.RestartPolicyNever
	}
	container.ImagePullPolicy = corev1.PullIfNotPresent
	var volumes []corev1.Volume
	if o.Secret != "" {
		source := corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: o.Secret}}
		volumes = append(volumes, corev1.Volume{Name: "secret", VolumeSource: source})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "secret", MountPath: secretFolder, ReadOnly: true})
	}
	_, err := n.cluster.client.CoreV1().Pods(n.Name).Create(n.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName:                      o.Node.Name,
			HostNetwork:                   o.HostNetwork,
			RestartPolicy:                 restart,
			TerminationGracePeriodSeconds: &none,
			Containers:                    []corev1.Container{container},
			Volumes:                       volumes,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		n.t.Fatalf("create pod %s/%s: %v", n.Name, name, err)
	}
	return &Pod{Name: name, Node: o.Node, namespace: n}
}

func httpProbe(path string, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: portName("tcp")}},
		PeriodSeconds:    1,
		FailureThreshold: failures,
	}
}

// AwaitReady until the pod is ready, and learn its addresses.
func (p *Pod) AwaitReady() {
	p.namespace.t.Helper()
	err := poll(p.namespace.t.Context(), podLimit, func(ctx context.Context) error {
		pod, err := p.get(ctx)
		if err != nil {
			return err
		}
		if !ready(pod) {
			return fmt.Errorf("pod %s is %s and not ready: %s", p, pod.Status.Phase, waiting(pod))
		}
		p.Addresses = nil
		for _, ip := range pod.Status.PodIPs {
			address, err := netip.ParseAddr(ip.IP)
			if err != nil {
				return err
			}
			p.Addresses = append(p.Addresses, address)
		}
		return nil
	})
	if err != nil {
		p.namespace.t.Fatal(err)
	}
}

// Restarts of the pod's container so far.
func (p *Pod) Restarts() int {
	p.namespace.t.Helper()
	pod, err := p.get(p.namespace.t.Context())
	if err != nil {
		p.namespace.t.Fatal(err)
	}
	restarts := 0
	for _, c := range pod.Status.ContainerStatuses {
		restarts += int(c.RestartCount)
	}
	return restarts
}

func (p *Pod) String() string { return p.namespace.Name + "/" + p.Name }

func (p *Pod) get(ctx context.Context) (*corev1.Pod, error) {
	return p.namespace.cluster.client.CoreV1().Pods(p.namespace.Name).Get(ctx, p.Name, metav1.GetOptions{})
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// waiting says why the pod's container does not run.
func waiting(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting != nil {
			return c.State.Waiting.Reason + ": " + c.State.Waiting.Message
		}
	}
	return "no reason given"
}
