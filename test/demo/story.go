// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// flow is one attempt with what must come of it.
type flow struct {
	from, network string
	to            string // pod's name or "outside"
	port          uint16
	family        int // 4 or 6
	passes        bool
	line          []string // parts of the line that weir observe must show
}

// tell plays the story, then sums up. It fails if anything was not as expected.
func (d *demo) tell(ctx context.Context) error {
	chapters := []func(context.Context) error{d.audit, d.enforce, d.change, d.explain}
	for _, chapter := range chapters {
		if err := chapter(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
	}
	fmt.Printf("\n%d of %d were as expected: each verdict on real packets, and the line that says why.\n", d.shown-d.failed, d.shown)
	if d.failed > 0 {
		return fmt.Errorf("%d of %d were not as expected", d.failed, d.shown)
	}
	return nil
}

func (d *demo) audit(ctx context.Context) error {
	title("Namespace shop in audit mode: what policy would deny passes, and is reported")
	return d.attempt(ctx, []flow{
		{"frontend", "tcp", "my-app", 8080, 4, true, []string{"ALLOWED", "shop/frontend", "shop/my-app:8080", "shop/allow-app ingress rule 0"}},
		{"stranger", "tcp", "my-app", 8080, 4, true, []string{"AUDITED", "other/stranger", "shop/my-app:8080", "shop/allow-app", "shop/default-deny"}},
	})
}

func (d *demo) enforce(ctx context.Context) error {
	if err := d.agent.Replace("weir.yaml", configuration("enforce")); err != nil {
		return err
	}
	title("The configuration changes: namespace shop is enforced from now on")
	if err := d.untilDenied(ctx, "stranger", d.addr("my-app", 8080, 4)); err != nil {
		return err
	}
	return d.attempt(ctx, []flow{
		{"frontend", "tcp", "my-app", 8080, 4, true, []string{"ALLOWED", "shop/frontend", "shop/my-app:8080", "shop/allow-app ingress rule 0"}},
		{"frontend", "tcp", "my-app", 8080, 6, true, []string{"ALLOWED", "shop/frontend", "shop/my-app:8080", "shop/allow-app ingress rule 0"}},
		{"stranger", "tcp", "my-app", 8080, 4, false, []string{"DENIED", "other/stranger", "shop/my-app:8080", "shop/default-deny", "nearest miss shop/allow-app ingress rule 0"}},
		{"stranger", "tcp", "my-app", 8080, 6, false, []string{"DENIED", "other/stranger", "shop/my-app:8080", "shop/default-deny", "nearest miss shop/allow-app ingress rule 0"}},
		{"frontend", "tcp", "my-app", 9090, 4, false, []string{"DENIED", "shop/my-app:9090", "nearest miss shop/allow-app ingress rule 0", "port 9090"}},
		{"frontend", "udp", "my-app", 8080, 4, false, []string{"DENIED", "UDP", "shop/my-app:8080", "nearest miss shop/allow-app ingress rule 0"}},
		{"my-app", "tcp", "database", 5432, 4, true, []string{"ALLOWED", "shop/my-app", "shop/database:5432", "egress of shop/my-app", "shop/allow-app egress rule 0"}},
		{"my-app", "tcp", "database", 5432, 6, true, []string{"ALLOWED", "shop/my-app", "shop/database:5432", "ingress of shop/database", "shop/allow-db ingress rule 0"}},
		{"my-app", "udp", "outside", 53, 4, false, []string{"DENIED", "UDP", "192.168.77.2:53", "egress of shop/my-app", "shop/allow-app"}},
		{"my-app", "tcp", "outside", 443, 6, false, []string{"DENIED", "[fd00:77::2]:443", "egress of shop/my-app", "shop/allow-app"}},
		{"stranger", "udp", "frontend", 7000, 4, false, []string{"DENIED", "UDP", "shop/frontend:7000", "isolated by shop/default-deny"}},
		{"frontend", "udp", "outside", 53, 4, true, []string{"ALLOWED", "UDP", "192.168.77.2:53", "egress of shop/frontend", "not isolated"}},
		{"frontend", "udp", "outside", 53, 6, true, []string{"ALLOWED", "UDP", "[fd00:77::2]:53", "egress of shop/frontend", "not isolated"}},
		{"outside", "tcp", "my-app", 8080, 4, false, []string{"DENIED", "192.168.77.2:", "shop/my-app:8080", "shop/default-deny"}},
		{"node", "tcp", "my-app", 8080, 4, true, []string{"ALLOWED", "shop/my-app:8080", "ingress of shop/my-app", "node"}},
	})
}

func (d *demo) change(ctx context.Context) error {
	title("A connection is open; then allow-app changes from port 8080 to 9090")
	conn, err := d.pods["frontend"].Dial("tcp", d.addr("my-app", 8080, 4), deadline)
	if err != nil {
		return fmt.Errorf("open the connection: %w", err)
	}
	defer conn.Close()
	if err := netns.Exchange(conn, "before", deadline); err != nil {
		return fmt.Errorf("use the connection: %w", err)
	}
	mark := d.lines.mark()
	begun := time.Now()
	if err := d.agent.Replace("manifests/policies.yaml", policiesManifest(9090)); err != nil {
		return err
	}
	took, err := untilCut(conn, begun)
	if err != nil {
		return err
	}
	fmt.Printf("  the open connection was cut; the last answer on it came less than %s after the file was renamed\n", took.Round(100*time.Microsecond))
	d.expect(ctx, mark, "the open connection is cut", []string{"DENIED", "shop/frontend", "shop/my-app:8080", "policy change"})
	return d.attempt(ctx, []flow{
		{"frontend", "tcp", "my-app", 9090, 4, true, []string{"ALLOWED", "shop/my-app:9090", "shop/allow-app ingress rule 0"}},
		{"frontend", "tcp", "my-app", 8080, 6, false, []string{"DENIED", "shop/my-app:8080", "port 8080"}},
	})
}

// untilCut exchanges messages until one is not answered, and returns when the
// last answer came, since begun.
func untilCut(conn net.Conn, begun time.Time) (time.Duration, error) {
	last := time.Duration(0)
	for time.Since(begun) < deadline {
		if err := netns.Exchange(conn, "after", 300*time.Millisecond); err != nil {
			return last, nil
		}
		last = time.Since(begun)
	}
	return 0, errors.New("the open connection still answers after the policy changed")
}

func (d *demo) explain(context.Context) error {
	title("weir explain shop/frontend shop/my-app --port 8080")
	out, err := d.agent.Weir("explain", "shop/frontend", "shop/my-app", "--port", "8080").CombinedOutput()
	fmt.Print(indent(string(out)))
	if err != nil {
		return fmt.Errorf("weir explain: %w", err)
	}
	d.count(holds(string(out), []string{"shop/allow-app", "port 8080"}), "explain names the rule and the port that missed")
	return nil
}

// untilDenied waits until a change of mode has been applied.
func (d *demo) untilDenied(ctx context.Context, from string, to netip.AddrPort) error {
	until := time.Now().Add(deadline)
	for time.Now().Before(until) && ctx.Err() == nil {
		if d.pods[from].Try("tcp", to, 300*time.Millisecond) != nil {
			return nil
		}
	}
	return errors.New("the change from audit to enforce did not take effect")
}

// attempt sends each flow and compares what came of it, and what weir says.
func (d *demo) attempt(ctx context.Context, flows []flow) error {
	for _, f := range flows {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		mark := d.lines.mark()
		limit := deadline
		if !f.passes {
			limit = 300 * time.Millisecond // silence is the answer
		}
		err := d.from(f.from).Try(f.network, d.addr(f.to, f.port, f.family), limit)
		what := fmt.Sprintf("%s -> %s %s/%d IPv%d", f.from, f.to, f.network, f.port, f.family)
		if (err == nil) != f.passes {
			d.count(false, fmt.Sprintf("%s: passes %t, expected %t (%v)", what, err == nil, f.passes, err))
			continue
		}
		d.expect(ctx, mark, what, f.line)
	}
	return nil
}

// expect waits for a line of weir observe and prints it.
func (d *demo) expect(ctx context.Context, mark int, what string, parts []string) {
	line, ok := d.lines.await(ctx, mark, deadline, parts...)
	if !ok {
		d.count(false, fmt.Sprintf("%s: weir observe shows no line with %q", what, parts))
		return
	}
	fmt.Println("  " + line)
	d.count(true, "")
}

func (d *demo) count(ok bool, what string) {
	d.shown++
	if !ok {
		d.failed++
		fmt.Println("  NOT AS EXPECTED:", what)
	}
}

func (d *demo) from(name string) *netns.Namespace {
	switch name {
	case "outside":
		return d.node.Outside
	case "node":
		return d.node.Namespace
	}
	return d.pods[name].Namespace
}

func (d *demo) addr(name string, port uint16, family int) netip.AddrPort {
	if name == "outside" {
		if family == 6 {
			return netip.AddrPortFrom(netns.OutsideAddr6, port)
		}
		return netip.AddrPortFrom(netns.OutsideAddr4, port)
	}
	index := 0
	if family == 6 {
		index = 1
	}
	return netip.AddrPortFrom(d.pods[name].Addrs[index], port)
}
