// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"container/heap"
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
)

// Source is what one agent tells.
type Source struct {
	Node    string
	Updates func(context.Context) iter.Seq2[client.Update, error]
}

// Update is an Update of one agent. Flows come in responses of their own, which
// may hold those of several nodes, and belong to none.
type Update struct {
	Node string
	client.Update
	// Missing: no more comes of this node, and why. The others go on.
	Missing error
}

// Options of Streams.
type Options struct {
	// Window is how long a flow waits for earlier ones of other nodes that have
	// nothing to tell; 0: until they do, or have ended.
	Window time.Duration
	// Last keeps only so many flows, the newest, and tells them at the end; 0:
	// all, as they come.
	Last int
}

// held is how many flows of one node wait at most, and a batch: its stream
// stands still then, and is told what it misses.
const held = 1024

// Streams merges streams of flows by time. Flows of one time are told by node,
// then in the order of the node. Streams whose own order is out by d give one
// that is out by no more than d, but for nodes that tell a flow later than the
// window. It ends when all sources have ended, or ctx does.
func Streams(ctx context.Context, sources []Source, o Options) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		m := &merger{options: o, yield: yield, news: make(chan item)}
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		for i, s := range sources {
			n := &node{index: i, name: s.Node, live: true, resume: make(chan struct{}, 1)}
			m.nodes = append(m.nodes, n)
			running.Go(func() { n.read(ctx, s.Updates, m.news) })
		}
		m.live = len(sources)
		if err := m.run(ctx); err != nil && !errors.Is(err, errLeft) {
			yield(Update{}, err)
		}
	}
}

var errLeft = errors.New("the reader has left")

// node is one source, as the merger sees it.
type node struct {
	index   int
	name    string
	live    bool // more may come
	away    bool // it is being looked for: nobody waits for it
	pending int  // flows in the heap
	stopped bool // it waits for resume
	resume  chan struct{}
}

// item is what a source has told; the last one has end set.
type item struct {
	node   *node
	update client.Update
	err    error
	end    bool
}

// read hands on what a source tells, one thing at a time.
func (n *node) read(ctx context.Context, updates func(context.Context) iter.Seq2[client.Update, error], to chan<- item) {
	send := func(i item) bool {
		select {
		case to <- i:
		case <-ctx.Done():
			return false
		}
		select {
		case <-n.resume:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var failed error
	for u, err := range updates(ctx) {
		if failed = err; err != nil {
			break
		}
		if !send(item{node: n, update: u}) {
			return
		}
	}
	send(item{node: n, err: failed, end: true})
}

// flow that waits for its turn.
type flow struct {
	*pb.Flow
	node    *node
	order   uint64
	arrived time.Time
	told    bool
}

// queue is a heap by time.
type queue []*flow

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	if c := a.GetTime().AsTime().Compare(b.GetTime().AsTime()); c != 0 {
		return c < 0
	}
	if a.node != b.node {
		return a.node.index < b.node.index
	}
	return a.order < b.order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*flow)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	f := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return f
}

// merger belongs to one goroutine.
type merger struct {
	options Options
	yield   func(Update, error) bool
	news    chan item
	nodes   []*node
	live    int
	queue   queue
	arrived []*flow // in order of arrival; those that are told among them
	count   uint64
	kept    []*pb.Flow // of Last
}

func (m *merger) run(ctx context.Context) error {
	for m.live > 0 {
		late := m.late()
		select {
		case i := <-m.news:
			if err := m.take(i); err != nil {
				return err
			}
		case <-late:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := m.tell(); err != nil {
			return err
		}
	}
	if err := m.tell(); err != nil {
		return err
	}
	if len(m.kept) > 0 {
		return m.give(Update{Update: client.Update{Response: &pb.WatchResponse{Flows: m.kept}}})
	}
	return nil
}

// late fires when the flow that waits longest has waited for long enough.
func (m *merger) late() <-chan time.Time {
	for len(m.arrived) > 0 && m.arrived[0].told {
		m.arrived = m.arrived[1:]
	}
	if m.options.Window == 0 || len(m.arrived) == 0 {
		return nil
	}
	return time.After(time.Until(m.arrived[0].arrived.Add(m.options.Window)))
}

func (m *merger) take(i item) error {
	n := i.node
	if i.end {
		n.live = false
		m.live--
		n.resume <- struct{}{}
		if i.err != nil {
			return m.give(Update{Node: n.name, Missing: i.err})
		}
		return nil
	}
	r := i.update.Response
	n.away = i.update.Lost != nil || n.away && r == nil
	for _, f := range r.GetFlows() {
		m.count++
		waiting := &flow{Flow: f, node: n, order: m.count, arrived: time.Now()}
		heap.Push(&m.queue, waiting)
		m.arrived = append(m.arrived, waiting)
		n.pending++
	}
	n.stopped = true
	if r == nil || r.GetLoss() != nil {
		if r != nil {
			i.update.Response = &pb.WatchResponse{Loss: r.GetLoss(), RunId: r.GetRunId(), Sequence: r.GetSequence()}
		}
		return m.give(Update{Node: n.name, Update: i.update})
	}
	return nil
}

// tell what need not wait any longer, and let those go on who have room.
func (m *merger) tell() error {
	var ready []*pb.Flow
	for m.queue.Len() > 0 && (!m.awaited() || m.overdue()) {
		f := heap.Pop(&m.queue).(*flow)
		f.told = true
		f.node.pending--
		ready = append(ready, f.Flow)
		m.resume(f.node)
	}
	for _, n := range m.nodes {
		m.resume(n)
	}
	if m.options.Last > 0 {
		m.kept = append(m.kept, ready...)
		if extra := len(m.kept) - m.options.Last; extra > 0 {
			m.kept = append(m.kept[:0], m.kept[extra:]...)
		}
		return nil
	}
	if len(ready) == 0 {
		return nil
	}
	return m.give(Update{Update: client.Update{Response: &pb.WatchResponse{Flows: ready}}})
}

func (m *merger) resume(n *node) {
	if n.stopped && n.pending < held {
		n.stopped = false
		n.resume <- struct{}{}
	}
}

// awaited: a node may still tell a flow that comes before all that wait.
func (m *merger) awaited() bool {
	for _, n := range m.nodes {
		if n.live && !n.away && n.pending == 0 {
			return true
		}
	}
	return false
}

// overdue: some flow has waited long enough, so the first one goes.
func (m *merger) overdue() bool {
	for len(m.arrived) > 0 && m.arrived[0].told {
		m.arrived = m.arrived[1:]
	}
	return m.options.Window > 0 && len(m.arrived) > 0 && time.Since(m.arrived[0].arrived) >= m.options.Window
}

func (m *merger) give(u Update) error {
	if !m.yield(u, nil) {
		return errLeft
	}
	return nil
}
