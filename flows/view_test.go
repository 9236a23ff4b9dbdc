// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"testing"

	"github.com/weirnet/weir/policy"
)

// What a View leaves out is found by no filter, in no way of reading.
func TestView(t *testing.T) {
	store, err := NewStore(1024)
	if err != nil {
		t.Fatal(err)
	}
	pod := func(namespace string) Peer {
		return Peer{Identity: PodIdentity, Pod: &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: namespace, Name: "p"}, Labels: map[string]string{"secret": namespace}}}
	}
	for i := range 40 {
		f := &Flow{ID: uint64(i + 1), Verdict: Allowed, Source: pod("shop"), Destination: pod("data")}
		if i%2 == 1 {
			f.Source = pod("other")
		}
		store.Add(f)
	}
	view := func(f *Flow) *Flow {
		if f.Source.Pod.Namespace != "shop" {
			return nil
		}
		shown := *f
		shown.Destination.Pod = &policy.Pod{ObjectKey: f.Destination.Pod.ObjectKey}
		return &shown
	}
	for _, row := range []struct {
		what  string
		query Query
		want  int
	}{
		{"all", Query{}, 20},
		{"a namespace that is seen", Query{Filter: FilterSpec{Namespaces: []string{"data"}}}, 20},
		{"a namespace that is not", Query{Filter: FilterSpec{Namespaces: []string{"other"}}}, 0},
		{"a label that is hidden", Query{Filter: FilterSpec{Destination: PeerSpec{Labels: []string{"secret=data"}}}}, 0},
		{"without a label that is hidden", Query{Exclude: []FilterSpec{{Destination: PeerSpec{Labels: []string{"secret=data"}}}}}, 20},
	} {
		row.query.View = view
		filter, err := Compile(row.query)
		if err != nil {
			t.Fatal(err)
		}
		r := store.Subscribe(filter, 0)
		got, done := r.Read(nil, 100, 0)
		r.Close()
		if !done || len(got) != row.want {
			t.Errorf("%s: %d flows are read, want %d", row.what, len(got), row.want)
		}
		for _, f := range got {
			if f.Destination.Pod.Labels != nil {
				t.Fatalf("%s: a hidden label is shown: %v", row.what, f.Destination.Pod.Labels)
			}
		}
		if sum := store.Summarize(filter, []SummaryKey{BySource}, MostFlows, 10); int(sum.Total.Flows) != row.want {
			t.Errorf("%s: %d flows are counted, want %d", row.what, sum.Total.Flows, row.want)
		}
		if after, want := store.LastMatching(filter, 3), min(row.want, 3); row.want > 0 && 40-int(after) != 2*want {
			t.Errorf("%s: the last %d begin after %d", row.what, want, after)
		}
	}
}
