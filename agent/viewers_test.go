// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirnet/weir/agent/kube"
	"github.com/weirnet/weir/api/server"
	"github.com/weirnet/weir/policy"
)

func TestViewerOptions(t *testing.T) {
	for _, row := range []struct{ address, manifests, says string }{
		{"", "/m", ""},
		{"127.0.0.1:9966", "", ""},
		{"[::1]:9966", "", ""},
		{"127.0.0.1:9966", "/m", "needs an API server"},
		{"0.0.0.0:9966", "", "loopback"},
		{"192.0.2.1:9966", "", "loopback"},
		{"[::]:9966", "", "loopback"},
		{"localhost:9966", "", "loopback"},
		{"127.0.0.1:0", "", "loopback"},
		{"127.0.0.1", "", "loopback"},
	} {
		o := Options{Viewers: row.address, Manifests: row.manifests}
		err := o.validateViewers()
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%q beside %q: %v, want %q", row.address, row.manifests, err, row.says)
		}
	}
}

func TestGateErrors(t *testing.T) {
	for err, want := range map[error]error{
		fmt.Errorf("x: %w", kube.ErrRefused):        server.ErrUnauthenticated,
		fmt.Errorf("x: %w", kube.ErrTooManyReviews): server.ErrUnavailable,
		errors.New("connection refused"):            server.ErrUnavailable,
	} {
		if got := gateError(err); !errors.Is(got, want) {
			t.Errorf("%v becomes %v, want %v", err, got, want)
		}
	}
	if gateError(nil) != nil {
		t.Error("nil becomes an error")
	}
}

// A version of a policy is in force once a change that came with it, or after
// it, has been applied.
func TestPolicyInForce(t *testing.T) {
	s := &state{}
	key := policy.ObjectKey{Namespace: "shop", Name: "p"}
	one, two := &policy.Policy{ObjectKey: key, Generation: 1}, &policy.Policy{ObjectKey: key, Generation: 2}
	look := func(what string, first, second bool) {
		t.Helper()
		if now := s.snapshot(); now.holds(one) != first || now.holds(two) != second {
			t.Errorf("%s: in force are %t, %t; want %t, %t", what, now.holds(one), now.holds(two), first, second)
		}
	}
	look("nothing came", false, false)
	s.expect(policy.Batch{Policies: []*policy.Policy{one}})
	look("came", false, false)
	s.applied(1, 0)
	look("applied", true, false)
	before := s.snapshot()
	s.expect(policy.Batch{Policies: []*policy.Policy{two}})
	look("a change came, and found no room", true, false)
	s.expect(policy.Batch{})
	s.applied(2, 0)
	look("another change was applied, and it with it", false, true)
	if !before.holds(one) {
		t.Error("a snapshot has changed")
	}
	s.expect(policy.Batch{DeletedPolicies: []policy.ObjectKey{key}})
	s.applied(3, 0)
	look("deleted", false, false)
}
