// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	agentLabels = "app.kubernetes.io/name=weir,app.kubernetes.io/component=agent"
	// portAnnotation of an agent's pod is set where it serves viewers.
	portAnnotation = "weir.dev/viewer-port"
)

// Options of a Cluster.
type Options struct {
	Kubeconfig string // empty: KUBECONFIG, else the home's .kube/config
	Context    string // empty: the current one of the kubeconfig
	Namespace  string // that weir runs in
	UserAgent  string
}

// Cluster is a cluster as the user's kubeconfig leads to it. The rights that it
// needs: list pods and create pods/portforward in weir's namespace, and create
// serviceaccounts/token for weir-viewer in the namespace that is looked at.
// Where nodes may be listed, those without an agent are told as well.
type Cluster struct {
	client    kubernetes.Interface
	config    *rest.Config
	namespace string
}

// Agent is a node's agent.
type Agent struct {
	Node string
	// Connect gives a connection to the agent's port for viewers.
	Connect func(context.Context) (net.Conn, error)
	// Token is the viewer's, for the agent's eyes alone; Refused asks for another
	// one at the next call.
	Token   func(context.Context) (string, error)
	Refused func()
}

// Missing is a node whose agent cannot be asked.
type Missing struct {
	Node string
	Err  error
}

// Connect reads the kubeconfig; it sends nothing yet.
func Connect(o Options) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w; name one with --kubeconfig and --context", err)
	}
	config.UserAgent = o.UserAgent
	config.QPS, config.Burst = 50, 100
	config.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	return &Cluster{client: client, config: config, namespace: o.Namespace}, nil
}

// Agents finds the agents of the nodes (none named: of all), by node, and those
// nodes that have none that could be asked. All agents have one token, that of
// weir-viewer in the first of the namespaces whose user lets this one; weir's
// own namespace comes last. The token is asked for now: without one there is
// nobody to ask.
func (c *Cluster) Agents(ctx context.Context, nodes, viewers []string) ([]Agent, []Missing, error) {
	pods, err := c.pods(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	wanted := func(node string) bool { return len(nodes) == 0 || slices.Contains(nodes, node) }
	token := newToken(c.client, append(slices.Clone(viewers), c.namespace))
	found := map[string]error{}
	var agents []Agent
	var missing []Missing
	for _, node := range sortedNodes(pods) {
		if !wanted(node) {
			continue
		}
		_, err := askable(pods, node)
		if found[node] = err; err != nil {
			missing = append(missing, Missing{node, err})
			continue
		}
		agents = append(agents, Agent{
			Node:    node,
			Connect: func(ctx context.Context) (net.Conn, error) { return c.connect(ctx, node) },
			Token:   token.get, Refused: token.forget,
		})
	}
	for _, node := range c.nodes(ctx, nodes) {
		if _, ok := found[node]; !ok && wanted(node) {
			missing = append(missing, Missing{node, errors.New("no pod of weir-agent is on this node")})
		}
	}
	switch {
	case len(pods) == 0:
		return nil, nil, fmt.Errorf("no pod of weir-agent is in namespace %s (labels %s); name weir's namespace with --agent-namespace", c.namespace, agentLabels)
	case len(agents) == 0:
		return nil, missing, nil
	}
	if _, err := token.get(ctx); err != nil {
		return nil, nil, err
	}
	return agents, missing, nil
}

func sortedNodes(pods []corev1.Pod) []string {
	var nodes []string
	for i := range pods {
		if node := pods[i].Spec.NodeName; node != "" {
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// nodes are all of the cluster, or those asked for where they may not be listed.
func (c *Cluster) nodes(ctx context.Context, asked []string) []string {
	if len(asked) > 0 {
		return asked
	}
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil // who may not list nodes is told of those that have a pod
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	return names
}

// pods of agents on a node; empty: on all.
func (c *Cluster) pods(ctx context.Context, node string) ([]corev1.Pod, error) {
	o := metav1.ListOptions{LabelSelector: agentLabels}
	if node != "" {
		o.FieldSelector = "spec.nodeName=" + node
	}
	list, err := c.client.CoreV1().Pods(c.namespace).List(ctx, o)
	if apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("find the agents: %w; you need the right to list pods in namespace %s, or name weir's namespace with --agent-namespace", err, c.namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("find the agents: %w", err)
	}
	return list.Items, nil
}

// target is a pod and the port for viewers.
type target struct {
	pod  string
	port uint16
}

// askable is the agent of a node that serves viewers; while one follows another,
// it is the one that runs.
func askable(pods []corev1.Pod, node string) (target, error) {
	why := errors.New("no pod of weir-agent is on this node")
	for i := range pods {
		p := &pods[i]
		text, serves := p.Annotations[portAnnotation]
		port, err := strconv.ParseUint(text, 10, 16)
		switch {
		case p.Spec.NodeName != node:
		case p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil:
			why = fmt.Errorf("pod %s is %s", p.Name, phase(p))
		case !serves:
			why = fmt.Errorf("pod %s serves no viewers; install weir with viewers.enabled", p.Name)
		case err != nil || port == 0:
			why = fmt.Errorf("pod %s: annotation %s: %q is not a port", p.Name, portAnnotation, text)
		default:
			return target{p.Name, uint16(port)}, nil
		}
	}
	return target{}, why
}

func phase(p *corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return "ending"
	}
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil && s.State.Waiting.Reason != "" {
			return s.State.Waiting.Reason
		}
	}
	return strings.ToLower(string(p.Status.Phase))
}
