// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Reader tells what happens to the interfaces and addresses of the node. It
// reads the network namespace in which it was made.
type Reader struct {
	log     *slog.Logger
	own     *socket
	foreign *socket // nil: the kernel does not let the agent listen
	handle  *netlink.Handle
	dump    *dumper
	proc    string
	resync  time.Duration
	poke    chan struct{}

	// Of the goroutine of Run.
	interfaces map[int]iface
	looks      map[int]*look
	node       *Node
	listed     bool
	fou        []uint16 // ports
	failed     string   // the last failure told
	blind      string   // the last reason told for not seeing inside pods
}

// resyncEvery is how often everything is read again, for what gives no notice:
// fou ports, sysctls.
const resyncEvery = 30 * time.Second

// NewReader opens its sockets, so that nothing is missed from then on. Run, or
// Close without Run, closes them.
func NewReader(log *slog.Logger) (*Reader, error) {
	r := &Reader{
		log: log, proc: "/proc", resync: resyncEvery, poke: make(chan struct{}, 1),
		interfaces: make(map[int]iface), looks: make(map[int]*look),
	}
	var err error
	if r.dump, err = newDumper(); err != nil {
		return nil, err
	}
	if r.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_GENERIC); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink: %w", err), r.Close())
	}
	if r.own, err = openSocket(false, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if r.foreign, err = openSocket(true, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR); err != nil {
		log.Warn("addresses inside pods give no notice; new interfaces are looked into again and again instead", "error", err)
	}
	return r, nil
}

// Close releases the sockets of a Reader that does not run.
func (r *Reader) Close() error {
	var err error
	for _, s := range []*socket{r.own, r.foreign} {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}
	if r.handle != nil {
		r.handle.Close()
	}
	r.dump.close()
	return err
}

// Look asks for another look into the interfaces in which no address has been
// seen, e.g. since a pod got an address.
func (r *Reader) Look() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// notice is what a socket heard.
type notice struct {
	links   []int // indices that may have changed
	netns   []int // ids of namespaces in which addresses changed
	node    bool  // addresses or local routes of this namespace changed
	overrun bool  // own: anything may have changed; foreign: addresses anywhere else
	foreign bool
	err     error // the socket is of no more use
}

// Run sends Events until ctx ends, then closes out. The first has everything.
// The error says why the kernel cannot be read at all.
func (r *Reader) Run(ctx context.Context, out chan<- Event) (err error) {
	defer close(out)
	notices := make(chan notice)
	var listeners sync.WaitGroup
	quit := make(chan struct{})
	listeners.Go(func() { listen(r.own, false, notices, quit) })
	if r.foreign != nil {
		listeners.Go(func() { listen(r.foreign, true, notices, quit) })
	}
	defer func() {
		close(quit)
		err = errors.Join(err, r.Close())
		listeners.Wait()
	}()
	return r.follow(ctx, notices, out)
}

// gather is how long after a notice others are taken along: a veth comes with
// five or more.
const gather = time.Millisecond

func (r *Reader) follow(ctx context.Context, notices <-chan notice, out chan<- Event) error {
	resync := time.NewTicker(r.resync)
	defer resync.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	todo := work{all: true}
	for {
		e, err := r.perform(&todo)
		if err := r.tell(err, &todo); err != nil {
			return err
		}
		if !e.empty() {
			select {
			case out <- e:
			case <-ctx.Done():
				return nil
			}
		}
		due.Reset(r.nextLook(todo.all))
		select {
		case <-ctx.Done():
			return nil
		case <-resync.C:
			todo.all = true
		case <-r.poke:
			todo.poked = true
		case <-due.C:
		case n := <-notices:
			if err := todo.add(n); err != nil {
				return err
			}
			if err := todo.collect(ctx, notices); err != nil {
				return err
			}
		}
	}
}

// tell logs a failure once, and sees to another try. Before the first full
// list it ends the reader: an agent that sees nothing must not run.
func (r *Reader) tell(err error, todo *work) error {
	switch {
	case err == nil && r.failed != "":
		r.log.Info("interfaces can be read again")
		r.failed = ""
	case err != nil && !r.listed:
		return fmt.Errorf("read interfaces: %w", err)
	case err != nil:
		todo.all = true
		if text := err.Error(); text != r.failed {
			r.failed = text
			r.log.Error("interfaces cannot be read; the last state stays, and the next try follows", "error", err)
		}
	}
	return nil
}

// work is what notices ask for.
type work struct {
	all   bool // read everything
	poked bool // look again where nothing was seen
	links map[int]struct{}
	netns map[int]struct{}
	node  bool
}

func (w *work) add(n notice) error {
	if n.err != nil {
		return n.err
	}
	w.all = w.all || n.overrun && !n.foreign
	w.poked = w.poked || n.overrun && n.foreign
	w.node = w.node || n.node
	for _, i := range n.links {
		if w.links == nil {
			w.links = make(map[int]struct{})
		}
		w.links[i] = struct{}{}
	}
	for _, id := range n.netns {
		if w.netns == nil {
			w.netns = make(map[int]struct{})
		}
		w.netns[id] = struct{}{}
	}
	return nil
}

// collect takes what comes within the next moment.
func (w *work) collect(ctx context.Context, notices <-chan notice) error {
	end := time.NewTimer(gather)
	defer end.Stop()
	for {
		select {
		case n := <-notices:
			if err := w.add(n); err != nil {
				return err
			}
		case <-end.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// listen turns messages to notices until the socket closes.
func listen(s *socket, foreign bool, out chan<- notice, quit <-chan struct{}) {
	for {
		messages, elsewhere, netns, err := s.receive()
		n := notice{foreign: foreign}
		switch {
		case errors.Is(err, errOverrun):
			n.overrun = true
		case err != nil:
			n.err = fmt.Errorf("notices of interfaces: %w", err)
		case foreign && elsewhere:
			n.netns = []int{netns}
		case foreign:
			continue // of this namespace: the other socket has it
		default:
			n.read(messages)
		}
		select {
		case out <- n:
		case <-quit:
			return
		}
		if n.err != nil {
			return
		}
	}
}

// read takes from messages what changed, not how: that is read when it is
// looked at, so that the order of notices does not matter.
func (n *notice) read(messages []syscall.NetlinkMessage) {
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			n.readLink(m)
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			n.node = true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			// Routes of other tables may change by the thousand.
			p, err := parseLocalRoute(m.Data)
			n.node = n.node || err != nil || p.IsValid()
		}
	}
}

func (n *notice) readLink(m syscall.NetlinkMessage) {
	if len(m.Data) < unix.SizeofIfInfomsg {
		n.overrun = true
		return
	}
	l, err := netlink.LinkDeserialize(nil, m.Data)
	if err != nil {
		n.overrun = true
		return
	}
	n.links = append(n.links, l.Attrs().Index)
	// The other end of a veth that was moved away gives no notice of its own.
	if m.Header.Type == unix.RTM_DELLINK && l.Attrs().ParentIndex != 0 {
		n.links = append(n.links, l.Attrs().ParentIndex)
	}
}
