// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestRemoved(t *testing.T) {
	const status = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"m"}`
	for _, row := range []struct {
		name    string
		code    int
		body    string
		removed bool
		fails   bool
	}{
		{"there", 200, `{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"name":"weir-agent"}}`, false, false},
		{"being deleted", 200, `{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"name":"weir-agent","deletionTimestamp":"2026-01-01T00:00:00Z"}}`, true, false},
		{"absent", 404, fmt.Sprintf(status, "NotFound", 404), true, false},
		{"ServiceAccount gone", 401, fmt.Sprintf(status, "Unauthorized", 401), true, false},
		{"role gone", 403, fmt.Sprintf(status, "Forbidden", 403), false, true},
		{"server in trouble", 500, fmt.Sprintf(status, "InternalError", 500), false, true},
		{"a proxy's 404", 404, "<h1>no such page</h1>", false, true},
		{"a proxy's 401", 401, "log in", false, true},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/apis/apps/v1/namespaces/weir-system/daemonsets/weir-agent" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			if row.body[0] == '{' {
				w.Header().Set("Content-Type", "application/json")
			}
			w.WriteHeader(row.code)
			fmt.Fprint(w, row.body)
		}))
		client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // for the refusal
		removed, err := Cluster{Client: client}.Removed(ctx, "weir-system", "weir-agent")
		cancel()
		server.Close()
		if removed != row.removed || (err != nil) != row.fails {
			t.Errorf("%s: removed %t, error %v; want %t, an error %t", row.name, removed, err, row.removed, row.fails)
		}
		removed, err = Cluster{Client: client}.Removed(t.Context(), "weir-system", "weir-agent")
		if removed || err == nil {
			t.Errorf("no server: removed %t, error %v", removed, err)
		}
	}
}

// The role of an agent is gone before the server forgets its token.
func TestRemovedAfterRefusal(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		code, reason := 403, "Forbidden"
		if asked > 1 {
			code, reason = 401, "Unauthorized"
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
	}))
	defer server.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*askAgain)
	defer cancel()
	if removed, err := (Cluster{Client: client}).Removed(ctx, "weir-system", "weir-agent"); !removed || err != nil {
		t.Errorf("removed %t, error %v after %d answers", removed, err, asked)
	}
}

func TestComplete(t *testing.T) {
	for _, row := range []struct {
		observed, desired, updated, ready int
		want                              bool
	}{
		{2, 3, 3, 3, true},
		{2, 0, 0, 0, true},  // no node
		{1, 0, 0, 0, false}, // not looked at yet
		{2, 3, 3, 2, false},
		{2, 3, 2, 3, false}, // one is of an older version
	} {
		d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		d.Status = appsv1.DaemonSetStatus{
			ObservedGeneration: int64(row.observed), DesiredNumberScheduled: int32(row.desired),
			UpdatedNumberScheduled: int32(row.updated), NumberReady: int32(row.ready),
		}
		if got := complete(d); got != row.want {
			t.Errorf("%+v: complete %t", row, got)
		}
	}
}
