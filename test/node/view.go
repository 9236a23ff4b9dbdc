// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirnet/weir/api/client"
	weirv1 "github.com/weirnet/weir/api/v1"
)

// viewLimit bounds every question.
const viewLimit = 5 * time.Second

// View is what an agent tells: flows as they come, endpoints, metrics.
type View struct {
	client *client.Client
	http   *http.Client
	stop   context.CancelFunc
	done   chan error

	mu    sync.Mutex
	flows []*weirv1.Flow
}

// NewView watches an agent that serves metrics at its default address inside
// the node. Close ends it.
func NewView(ctx context.Context, agent *Agent) (*View, error) {
	options := client.Defaults()
	options.Socket = agent.Socket()
	c, err := client.Dial(ctx, options)
	if err != nil {
		return nil, err
	}
	v := &View{client: c, done: make(chan error, 1)}
	v.http = &http.Client{Timeout: viewLimit, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return agent.Node.Dial("tcp", netip.MustParseAddrPort("127.0.0.1:9965"), viewLimit)
		},
	}}
	ctx, v.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() { v.done <- v.watch(ctx) }()
	return v, nil
}

func (v *View) watch(ctx context.Context) error {
	for update, err := range v.client.WatchReconnect(ctx, &weirv1.WatchRequest{Follow: true}) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch flows: %w", err)
		}
		if update.Response != nil {
			v.mu.Lock()
			v.flows = append(v.flows, update.Response.GetFlows()...)
			v.mu.Unlock()
		}
	}
	return nil
}

// Close ends the watch.
func (v *View) Close() error {
	v.stop()
	err := <-v.done
	v.http.CloseIdleConnections()
	return errors.Join(err, v.client.Close())
}

// Told is how many flows the agent has told so far.
func (v *View) Told() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.flows)
}

// Find is the first flow after those that were told before, or nil.
func (v *View) Find(after int, wanted func(*weirv1.Flow) bool) *weirv1.Flow {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.flows[min(after, len(v.flows)):] {
		if wanted(f) {
			return f
		}
	}
	return nil
}

// Metric reads a sample as it stands in /metrics: the name with its labels in
// order. Absent is 0, as of a counter that never counted.
func (v *View) Metric(sample string) (float64, error) {
	samples, err := v.Samples(sample)
	return samples[sample], err
}

// Samples reads those that begin so, by name and labels.
func (v *View) Samples(prefix string) (map[string]float64, error) {
	response, err := v.http.Get("http://agent/metrics")
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer response.Body.Close()
	samples := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			continue
		}
		if samples[line[:at]], err = strconv.ParseFloat(line[at+1:], 64); err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", line, err)
		}
	}
	return samples, lines.Err()
}

// Denied is the number of packets of a pod of namespace shop that were denied for a reason.
func (v *View) Denied(pod, direction, reason string) (float64, error) {
	return v.Metric(fmt.Sprintf("weir_dropped_packets_total{direction=%q,namespace=\"shop\",pod=%q,reason=%q,verdict=\"denied\"}", direction, pod, reason))
}

// Endpoints lists the agent's endpoints.
func (v *View) Endpoints() ([]*weirv1.Endpoint, error) {
	ctx, cancel := context.WithTimeout(context.Background(), viewLimit)
	defer cancel()
	list, err := v.client.Agent.Endpoints(ctx, &weirv1.EndpointsRequest{})
	return list.GetEndpoints(), err
}

// Enforced reports whether a pod has an interface in force.
func (v *View) Enforced(pod string) (bool, error) {
	list, err := v.Endpoints()
	for _, e := range list {
		if e.GetPod() == pod && e.GetState() == "enforced" {
			return true, nil
		}
	}
	return false, err
}

// Agent is the service that takes announcements.
func (v *View) Agent() weirv1.AgentClient { return v.client.Agent }

// StopFlows ends the watch of flows alone.
func (v *View) StopFlows() { v.stop() }
