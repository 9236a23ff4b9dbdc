// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// ends are the processes of one node's pods.
type ends struct {
	servers []*exec.Cmd
	client  *exec.Cmd
	ask     io.WriteCloser
	answers *bufio.Reader
}

// startEnds: servers on the server's own address, the client calls another, if
// that is a Service's.
func startEnds(client, server *netns.Pod, called netip.Addr, fifo string) (e *ends, err error) {
	e = &ends{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		return e, fmt.Errorf("make FIFO %s: %w", fifo, err)
	}
	for workload, port := range map[string]uint16{Request: portRequest, Connect: portConnect, OneWay: portOneWay} {
		process := peer(workload, netip.AddrPortFrom(server.Addrs[0], port), fifo)
		out, err := process.StdoutPipe()
		if err != nil {
			return e, err
		}
		if err := startOnOneCPU(server.Namespace, process); err != nil {
			return e, err
		}
		e.servers = append(e.servers, process)
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			return e, fmt.Errorf("server of %s says %q: %w", workload, line, err)
		}
	}
	e.client = peer("client", netip.AddrPortFrom(called, 0), fifo)
	if e.ask, err = e.client.StdinPipe(); err != nil {
		return e, err
	}
	out, err := e.client.StdoutPipe()
	if err != nil {
		return e, err
	}
	e.answers = bufio.NewReader(out)
	return e, startOnOneCPU(client.Namespace, e.client)
}

// peer is this program as one end.
func peer(end string, at netip.AddrPort, fifo string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", PeerCommand, end, at.String(), fifo)
	c.Stderr = os.Stderr
	return c
}

// startOnOneCPU starts a process on the machine's last CPU: it inherits from
// the thread that forks. On one CPU the latency has no wake-up of another in
// it, which varies more than what is measured.
func startOnOneCPU(ns *netns.Namespace, process *exec.Cmd) error {
	return ns.Do(func() error {
		var all, last unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return err
		}
		for cpu := range len(all) * 64 {
			if all.IsSet(cpu) {
				last.Zero()
				last.Set(cpu)
			}
		}
		if err := unix.SchedSetaffinity(0, &last); err != nil {
			return err
		}
		err := process.Start()
		return errors.Join(err, unix.SchedSetaffinity(0, &all))
	})
}

// run asks the client for n transactions.
func (e *ends) run(workload string, n int) (value float64, took time.Duration, err error) {
	begun := time.Now()
	if _, err := fmt.Fprintln(e.ask, workload, n); err != nil {
		return 0, 0, fmt.Errorf("ask the client: %w", err)
	}
	line, err := e.answers.ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("answer of the client: %w", err)
	}
	value, err = strconv.ParseFloat(strings.TrimSpace(line), 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: the client %s", workload, strings.TrimSpace(line))
	}
	return value, time.Since(begun), nil
}

func (e *ends) close() error {
	var errs []error
	if e.ask != nil {
		errs = append(errs, e.ask.Close()) // the client ends
	}
	return errors.Join(append(errs, endAll(append(e.servers, e.client)...))...)
}

func endAll(processes ...*exec.Cmd) error {
	var errs []error
	for _, p := range processes {
		if p != nil {
			errs = append(errs, node.End(p))
		}
	}
	return errors.Join(errs...)
}
