// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	weirv1 "github.com/weirnet/weir/api/v1"
)

func TestAdd(t *testing.T) {
	host, pod := newPod(t)
	conflict := grpcstatus.Error(codes.AlreadyExists, "bound to pod shop/old")
	away := grpcstatus.Error(codes.Unavailable, "restarts")
	in := func(f func()) { must(t, host.Do(func() error { f(); return nil })) }
	for _, row := range []struct {
		name    string
		answers []answer
		calls   int // of Announce, at the least
		fault   string
	}{
		{"enforced", []answer{{"enforced", nil}}, 1, ""},
		{"audited", []answer{{"audited", nil}}, 1, ""},
		{"not ready at first", []answer{{"notready", nil}, {"notready", nil}, {"enforced", nil}}, 3, ""},
		{"away at first", []answer{{"", away}, {"enforced", nil}}, 2, ""},
		{"never ready", []answer{{"notready", nil}}, 2, "not complete"},
		{"unenforceable", []answer{{"unenforceable", nil}}, 1, "unenforceable"},
		{"unknown state", []answer{{"", nil}}, 1, "weir endpoints"},
		{"conflict", []answer{{"", conflict}}, 1, "bound to pod shop/old"},
	} {
		a := newAgent(t)
		a.answers = row.answers
		a.start()
		for _, mode := range []string{"closed", "open"} {
			a.answers = row.answers
			c := newCall(a, pod.Path())
			c.stdin["failure"] = mode
			in(func() {
				begun := time.Now()
				result, err := c.add(t)
				took(t, row.name, begun, 2*time.Second)
				if row.fault != "" && mode == "closed" {
					wants(t, row.name, err, types.ErrTryAgainLater, row.fault)
					if result != "" {
						t.Errorf("%s: a result beside the error: %s", row.name, result)
					}
					return
				}
				if err != nil || !strings.Contains(result, `"10.77.0.5/24"`) || !strings.Contains(result, "vethweb") {
					t.Errorf("%s, %s: error %v, result %s", row.name, mode, err, result)
				}
			})
		}
		a.stop()
		if len(a.announced) < 2*row.calls {
			t.Errorf("%s: announced %d times, want at least %d", row.name, len(a.announced), 2*row.calls)
		}
		r := a.announced[0]
		if r.GetNamespace() != "shop" || r.GetName() != "web" || r.GetUid() != "u1" || r.GetInterface() != pod.Ifname || !slices.Equal(r.GetIps(), []string{"10.77.0.5", "fd77::5"}) {
			t.Errorf("%s: announced %v; want shop/web, u1, %s and its two addresses", row.name, r, pod.Ifname)
		}
	}
}

// An agent that starts within the limit is enough.
func TestAddWaitsForTheAgent(t *testing.T) {
	host, pod := newPod(t)
	a := newAgent(t)
	c := newCall(a, pod.Path())
	c.stdin["timeout"] = "20s"
	starts := time.AfterFunc(200*time.Millisecond, a.start)
	defer starts.Stop()
	must(t, host.Do(func() error { _, err := c.add(t); return err }))
}

func TestAddWithoutAgent(t *testing.T) {
	host, pod := newPod(t)
	a := newAgent(t)
	for _, row := range []struct {
		name   string
		fault  string
		change func(*call)
	}{
		{"no agent", "not running", func(*call) {}},
		{"runtime names no uid", "K8S_POD_UID", func(c *call) { c.args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web" }},
		{"no such interface", "interface eth7", func(c *call) { c.ifname = "eth7" }},
		{"not a veth", "is a ", func(c *call) { c.ifname = "lo" }},
		{"no such namespace", "network namespace /run/netns/none", func(c *call) { c.netns = "/run/netns/none" }},
	} {
		for _, mode := range []string{"closed", "open"} {
			c := newCall(a, pod.Path())
			c.stdin["failure"] = mode
			row.change(c)
			must(t, host.Do(func() error {
				result, err := c.add(t)
				if mode == "closed" {
					wants(t, row.name, err, types.ErrTryAgainLater, row.fault)
				} else if err != nil || result == "" {
					t.Errorf("%s, open: error %v, result %q", row.name, err, result)
				}
				return nil
			}))
		}
	}
}

// A container that is no pod passes as it is, and a call that makes no sense is
// an error whatever the mode.
func TestAddOfOthers(t *testing.T) {
	a := newAgent(t)
	for _, row := range []struct {
		name   string
		code   uint
		fault  string
		change func(*call)
	}{
		{"no pod", 0, "", func(c *call) { c.args = "" }},
		{"no prevResult", types.ErrInvalidNetworkConfig, "no prevResult", func(c *call) { delete(c.stdin, "prevResult") }},
		{"unknown failure mode", types.ErrInvalidNetworkConfig, "failure", func(c *call) { c.stdin["failure"] = "maybe" }},
		{"no failure mode", types.ErrTryAgainLater, "does not start", func(c *call) { delete(c.stdin, "failure") }},
		{"broken limit", types.ErrInvalidNetworkConfig, "timeout", func(c *call) { c.stdin["timeout"] = "soon" }},
		{"broken arguments", types.ErrInvalidEnvironmentVariables, "CNI_ARGS", func(c *call) { c.args = "x" }},
	} {
		c := newCall(a, "/run/netns/none")
		row.change(c)
		result, err := c.add(t)
		if row.code == 0 {
			if err != nil || result == "" {
				t.Errorf("%s: error %v, result %q", row.name, err, result)
			}
			continue
		}
		wants(t, row.name, err, row.code, row.fault)
	}
}

func TestCheck(t *testing.T) {
	host, pod := newPod(t)
	a := newAgent(t)
	a.start()
	for _, row := range []struct {
		name      string
		endpoints []*weirv1.Endpoint
		fault     string
	}{
		{"enforced", []*weirv1.Endpoint{{Interface: pod.Ifname, Namespace: "shop", Pod: "web", State: "enforced"}}, ""},
		{"audited", []*weirv1.Endpoint{{Interface: pod.Ifname, Namespace: "shop", Pod: "web", State: "audited"}}, ""},
		{"closed", []*weirv1.Endpoint{{Interface: pod.Ifname, Namespace: "shop", Pod: "web", State: "notready", Why: "closed: two claim it"}}, "two claim it"},
		{"another pod", []*weirv1.Endpoint{{Interface: pod.Ifname, Namespace: "shop", Pod: "db", State: "enforced"}}, "shop/db"},
		{"unknown", []*weirv1.Endpoint{{Interface: "vethother", Namespace: "shop", Pod: "web", State: "enforced"}}, "does not know"},
	} {
		a.endpoints = row.endpoints
		must(t, host.Do(func() error {
			err := check(newCall(a, pod.Path()).cmdArgs(t))
			if (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
				t.Errorf("%s: %v, want %q", row.name, err, row.fault)
			}
			return nil
		}))
	}
}

func TestDelAndStatus(t *testing.T) {
	a := newAgent(t)
	c := newCall(a, "") // at the end of a pod the namespace may be gone
	begun := time.Now()
	if err := del(c.cmdArgs(t)); err != nil {
		t.Errorf("DEL without an agent: %v", err)
	}
	took(t, "DEL without an agent", begun, time.Second)
	wants(t, "STATUS without an agent", available(t, c), types.ErrPluginNotAvailable, "not running")
	c.stdin["failure"] = "open"
	if err := available(t, c); err != nil {
		t.Errorf("STATUS without an agent, open: %v", err)
	}

	a.start()
	c = newCall(a, "")
	if err := del(c.cmdArgs(t)); err != nil || len(a.retracted) != 1 || a.retracted[0].GetUid() != "u1" {
		t.Errorf("DEL: %v, retracted %v", err, a.retracted)
	}
	if err := available(t, c); err != nil {
		t.Errorf("STATUS: %v", err)
	}
}
