// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	callLimit   = time.Second      // of one call; an allowed one takes milliseconds
	settleLimit = 60 * time.Second // until a change has reached kube-proxy and agents of a busy machine
	steadyCalls = 3                // which must agree once it has
)

// Verdict of a call.
type Verdict string

// Verdicts. Whatever is neither an answer nor silence, such as a refusal, is
// told by its own text, so that no test takes it for a denial.
const (
	Passed Verdict = "passed"
	Denied Verdict = "denied" // silence until the limit
)

// Target of a call.
type Target struct {
	Protocol string // tcp, udp
	Address  netip.AddrPort
}

func (t Target) String() string { return t.Protocol + " " + t.Address.String() }

// Targets by TCP and UDP of a pod, for each of its addresses.
func (p *Pod) Targets() []Target {
	var list []Target
	for _, a := range p.Addresses {
		list = append(list, Target{"tcp", netip.AddrPortFrom(a, portTCP)}, Target{"udp", netip.AddrPortFrom(a, portUDP)})
	}
	return list
}

// Call a target from inside the pod.
func (p *Pod) Call(ctx context.Context, t Target) (Verdict, error) {
	if p.traffic {
		verdicts, err := p.probe(ctx, []Target{t})
		if err != nil {
			return "", err
		}
		return verdicts[0], nil
	}
	out, code, err := p.Exec(ctx, "/agnhost", "connect", "--protocol="+t.Protocol, "--timeout="+callLimit.String(), t.Address.String())
	out = strings.TrimSpace(out)
	switch {
	case err != nil:
		return "", err
	case code == 0:
		return Passed, nil
	case strings.Contains(out, "TIMEOUT"):
		return Denied, nil
	}
	return Verdict(out), nil
}

// Outside is this process, a client outside the cluster.
type Outside struct{}

// Call a TCP target.
func (Outside) Call(ctx context.Context, t Target) (Verdict, error) {
	dialer := net.Dialer{Timeout: callLimit}
	conn, err := dialer.DialContext(ctx, t.Protocol, t.Address.String())
	switch {
	case err == nil:
		return Passed, conn.Close()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT), isTimeout(err):
		return Denied, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return "REFUSED", nil
	}
	return "", err
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func (Outside) String() string { return "outside" }

// caller is a pod or the outside.
type caller interface {
	fmt.Stringer
	Call(ctx context.Context, t Target) (Verdict, error)
}

// Expect a verdict: within the limit for changes to arrive, and then steadily.
func Expect(ctx context.Context, from caller, to Target, want Verdict) error {
	err := poll(ctx, settleLimit, func(ctx context.Context) error { return once(ctx, from, to, want) })
	if err != nil {
		return err
	}
	for range steadyCalls {
		if err := once(ctx, from, to, want); err != nil {
			return fmt.Errorf("after it was %s: %w", want, err)
		}
	}
	return nil
}

func once(ctx context.Context, from caller, to Target, want Verdict) error {
	got, err := from.Call(ctx, to)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s to %s: %s, want %s", from, to, got, want)
	}
	return nil
}

// OwnAddress of this process, as a target sees it if nothing between translates
// it. Nothing is sent.
func OwnAddress(ctx context.Context, to Target) (netip.Addr, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", to.Address.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return local.Addr().Unmap(), err
}
