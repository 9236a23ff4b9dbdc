// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/kube"
	"github.com/weirnet/weir/cmd/weir/output"
)

const defaultAgentNamespace = "weir-system"

// place is where agents are looked for: on this node by a socket, or in a
// cluster by a kubeconfig.
type place struct {
	socket      string
	socketGiven bool
	options     kube.Options
	viewer      string   // whose weir-viewer to be; empty: as the command says
	nodes       []string // none: all
}

func (p *place) register(flags *pflag.FlagSet, getenv func(string) string) {
	p.socket = defaultSocket
	if named := getenv("WEIR_SOCKET"); named != "" {
		p.socket, p.socketGiven = named, true
	}
	flags.StringVar(&p.socket, "socket", p.socket, "Unix socket of the agent; also by WEIR_SOCKET")
	flags.StringVar(&p.options.Kubeconfig, "kubeconfig", "", "`FILE` that leads to a cluster: ask all its agents")
	flags.StringVar(&p.options.Context, "context", "", "`NAME` of a context of the kubeconfig: ask all agents of that cluster")
	flags.StringVar(&p.options.Namespace, "agent-namespace", defaultAgentNamespace, "`NAMESPACE` of the cluster that weir runs in")
	flags.StringVar(&p.viewer, "viewer", "", "act as weir-viewer of this `NAMESPACE` of the cluster; if not given, of that of -n, or else of all")
	flags.StringSliceVar(&p.nodes, "node", nil, "ask the agents of these nodes of the cluster alone")
}

// inCluster tells whether a cluster is asked: one that was named, that of kubectl,
// or that of the kubeconfig where no agent has a socket here.
func (s *session) inCluster() bool {
	p := &s.place
	switch {
	case p.socketGiven:
		return false
	case p.options.Kubeconfig != "", p.options.Context != "", strings.HasPrefix(baseName(s.name), "kubectl"):
		return true
	}
	if _, err := os.Lstat(p.socket); err == nil {
		return false
	}
	if s.getenv("KUBECONFIG") != "" {
		return true
	}
	home := s.getenv("HOME")
	if home == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(home, ".kube", "config"))
	return err == nil
}

// agents are who a command asks.
type agents struct {
	list    []agentAt
	missing []kube.Missing
}

// agentAt is an agent; node is empty for that of this node, by its socket.
type agentAt struct {
	node    string
	options client.Options
}

// who finds the agents to ask. Nodes and namespaces are those that the command
// speaks of.
func (s *session) who(ctx context.Context, nodes, namespaces []string) (*agents, error) {
	options := client.Defaults()
	options.ConnectTimeout = s.requestTimeout
	if !s.inCluster() {
		options.Socket = s.socket
		return &agents{list: []agentAt{{options: options}}}, nil
	}
	if s.viewer != "" {
		namespaces = []string{s.viewer}
	} else if len(namespaces) > 1 {
		namespaces = nil // no one of them sees the others
	}
	if len(s.nodes) > 0 {
		nodes = s.nodes
	}
	if s.found != nil {
		return s.found, nil // top asks again and again
	}
	ctx, cancel := context.WithTimeout(ctx, s.requestTimeout)
	defer cancel()
	found, missing, err := s.find(ctx, nodes, namespaces)
	if err != nil {
		return nil, err
	}
	all := &agents{missing: missing}
	for _, a := range found {
		o := options
		o.Name, o.Connect, o.Refused = "node "+a.Node, a.Connect, a.Refused
		o.Token = func(ctx context.Context) (string, error) {
			token, err := a.Token(ctx)
			if errors.Is(err, kube.ErrNoViewer) {
				err = fmt.Errorf("%w: %w", client.ErrNoToken, err)
			}
			return token, err
		}
		all.list = append(all.list, agentAt{a.Node, o})
	}
	if len(all.list) == 0 {
		return nil, errors.Join(errors.New("no agent of the cluster can be asked"), whyMissing(missing))
	}
	s.found = all
	return all, nil
}

func whyMissing(missing []kube.Missing) error {
	var errs []error
	for _, m := range missing {
		errs = append(errs, fmt.Errorf("node %s: %w", m.Node, m.Err))
	}
	return errors.Join(errs...)
}

func findAgents(ctx context.Context, o kube.Options, nodes, viewers []string) ([]kube.Agent, []kube.Missing, error) {
	cluster, err := kube.Connect(o)
	if err != nil {
		return nil, nil, err
	}
	return cluster.Agents(ctx, nodes, viewers)
}

func (s *session) find(ctx context.Context, nodes, viewers []string) ([]kube.Agent, []kube.Missing, error) {
	find := s.findAgents
	if find == nil {
		find = findAgents
	}
	o := s.place.options
	o.UserAgent = "weir"
	return find(ctx, o, nodes, viewers)
}

// answer of one agent.
type answer[T any] struct {
	node  string
	value T
}

// askAll asks all agents at once, and tells of those that do not answer: the
// command is then partial. It is an error if none does.
func askAll[T any](ctx context.Context, s *session, namespaces []string, hint string,
	request func(context.Context, *client.Client) (T, error)) (answers []answer[T], partial bool, err error) {
	return askNodes(ctx, s, nil, namespaces, hint, request)
}

// askNodes is askAll of some nodes; none named: of all.
func askNodes[T any](ctx context.Context, s *session, nodes, namespaces []string, hint string,
	request func(context.Context, *client.Client) (T, error)) (answers []answer[T], partial bool, err error) {
	all, err := s.who(ctx, nodes, namespaces)
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.requestTimeout)
	defer cancel()
	results := make([]answer[T], len(all.list))
	errs := make([]error, len(all.list))
	var asking sync.WaitGroup
	for i, a := range all.list {
		results[i].node = a.node
		asking.Go(func() { results[i].value, errs[i] = askOne(ctx, a, request) })
	}
	asking.Wait()
	if len(all.list) == 1 && errs[0] != nil {
		return nil, false, advise(errs[0], hint)
	}
	var failed []error
	for i, err := range errs {
		if err == nil {
			answers = append(answers, results[i])
			continue
		}
		failed = append(failed, advise(err, hint))
	}
	if len(answers) == 0 {
		return nil, false, errors.Join(failed...)
	}
	for _, err := range failed {
		s.complain("no answer: %s", output.Escape(err.Error()))
	}
	s.tellMissing(all.missing)
	return answers, len(failed)+len(all.missing) > 0, nil
}

func askOne[T any](ctx context.Context, a agentAt, request func(context.Context, *client.Client) (T, error)) (value T, err error) {
	c, err := client.Dial(ctx, a.options)
	if err != nil {
		return value, err
	}
	defer c.Close()
	return request(ctx, c)
}

func (s *session) tellMissing(missing []kube.Missing) {
	for _, m := range missing {
		s.complain("node %s is missing: %s", output.Escape(m.Node), output.Escape(m.Err.Error()))
	}
}

// incomplete is the exit code of a command whose answer lacks nodes.
func incomplete(partial bool) error {
	if partial {
		return &outcome{code: exitPartial}
	}
	return nil
}

// nodesOf are those that a filter is about, which alone are asked then.
func nodesOf(f *pb.FlowFilter) []string { return f.GetNodes() }

// viewedBy are the namespaces that a filter of flows names for either end.
func viewedBy(f *pb.FlowFilter) []string { return f.GetNamespaces() }

// completeNodes: names of nodes come of the cluster, where there is one.
func completeNodes(s *session) func(*cobra.Command) []string {
	return func(c *cobra.Command) []string {
		if !s.inCluster() {
			return nil
		}
		ctx, cancel := context.WithTimeout(c.Context(), min(s.requestTimeout, completionTimeout))
		defer cancel()
		found, _, err := s.find(ctx, nil, nil)
		if err != nil {
			return nil
		}
		var names []string
		for _, a := range found {
			names = append(names, a.Node)
		}
		return names
	}
}

// mergeWindow is how long a flow waits for earlier ones of nodes that have
// nothing to tell: the agents look into their rings every 100 ms at most, and
// tell every 50 ms.
const mergeWindow = 500 * time.Millisecond
