// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weirnet/weir/api/server"
	weirv1 "github.com/weirnet/weir/api/v1"
)

func TestList(t *testing.T) {
	r := start(t)
	empty, err := r.Flows.List(limited(t), &weirv1.ListRequest{})
	if err != nil || len(empty.Flows) != 0 || empty.NextPageToken != "" {
		t.Errorf("an empty store: %v, %v", empty, err)
	}
	add(r.store, 1500) // 477 to 1500 are kept
	for _, row := range []struct {
		name string
		req  *weirv1.ListRequest
		want string
	}{
		{"default size", &weirv1.ListRequest{}, "477-1476:1000 1477-1500:24"},
		{"all at once", &weirv1.ListRequest{PageSize: 10000}, "477-1500:1024"},
		{"exactly all", &weirv1.ListRequest{PageSize: 1024}, "477-1500:1024"},
		{"by 500", &weirv1.ListRequest{PageSize: 500}, "477-976:500 977-1476:500 1477-1500:24"},
		{"a filter", &weirv1.ListRequest{PageSize: 400, Filter: udpOnly()}, "478-1276:400 1278-1500:112"},
		{"since", &weirv1.ListRequest{Since: &timestamppb.Timestamp{Seconds: 1495}}, "1495-1500:6"},
	} {
		var got []string
		req := row.req
		for {
			page, err := r.Flows.List(limited(t), req)
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			if page.Missed != 0 {
				t.Errorf("%s: %d missed", row.name, page.Missed)
			}
			got = append(got, span(t, page.Flows))
			if page.NextPageToken == "" {
				break
			}
			req.PageToken = page.NextPageToken
		}
		if s := strings.Join(got, " "); s != row.want {
			t.Errorf("%s: pages %s, want %s", row.name, s, row.want)
		}
	}
}

// A listing ends where it ended when it began, and counts what was
// overwritten between two pages.
func TestListOverALivingStore(t *testing.T) {
	r := start(t)
	add(r.store, 1000)
	first, err := r.Flows.List(limited(t), &weirv1.ListRequest{PageSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	add(r.store, 324) // 301 to 1324 are kept
	second, err := r.Flows.List(limited(t), &weirv1.ListRequest{PageSize: 900, PageToken: first.NextPageToken})
	if err != nil {
		t.Fatal(err)
	}
	if span(t, second.Flows) != "301-1000:700" || second.Missed != 200 || second.NextPageToken != "" {
		t.Errorf("second page %s, %d missed, token %q", span(t, second.Flows), second.Missed, second.NextPageToken)
	}
	add(r.store, 5000) // all of the listing is overwritten
	gone, err := r.Flows.List(limited(t), &weirv1.ListRequest{PageSize: 900, PageToken: first.NextPageToken})
	if err != nil {
		t.Fatal(err)
	}
	if len(gone.Flows) != 0 || gone.Missed != 900 || gone.NextPageToken != "" {
		t.Errorf("third page %s, %d missed, token %q", span(t, gone.Flows), gone.Missed, gone.NextPageToken)
	}
}

func TestListRefuses(t *testing.T) {
	r := start(t)
	other := start(t, func(o *server.Options) { o.RunID = "run-2" })
	add(r.store, 10)
	add(other.store, 10)
	token := func(r *running, f *weirv1.FlowFilter) string {
		page, err := r.Flows.List(limited(t), &weirv1.ListRequest{PageSize: 2, Filter: f})
		if err != nil || page.NextPageToken == "" {
			t.Fatal(page, err)
		}
		return page.NextPageToken
	}
	own := token(r, nil)
	bent, err := base64.RawURLEncoding.DecodeString(own)
	if err != nil {
		t.Fatal(err)
	}
	bent[8] = 0xff // until far in the future
	for _, row := range []struct {
		name string
		req  *weirv1.ListRequest
		says string
	}{
		{"too large a page", &weirv1.ListRequest{PageSize: 10001}, "page_size: 10001 is above 10000"},
		{"not a token", &weirv1.ListRequest{PageToken: "hello"}, "page_token: not a token"},
		{"not base64", &weirv1.ListRequest{PageToken: "!"}, "page_token: not a token"},
		{"cut", &weirv1.ListRequest{PageToken: own[:20]}, "page_token: not a token"},
		{"of another filter", &weirv1.ListRequest{PageToken: own, Filter: udpOnly()}, "page_token: of another filter"},
		{"of another since", &weirv1.ListRequest{PageToken: own, Since: &timestamppb.Timestamp{}}, "page_token: of another filter"},
		{"of another run", &weirv1.ListRequest{PageToken: token(other, nil)}, "or of an earlier run"},
		{"bent", &weirv1.ListRequest{PageToken: base64.RawURLEncoding.EncodeToString(bent)}, "page_token: names a place that does not exist"},
		{"bad filter", &weirv1.ListRequest{Filter: &weirv1.FlowFilter{Pods: []string{""}}}, "filter.pods[0]"},
	} {
		_, err := r.Flows.List(limited(t), row.req)
		wantError(t, row.name, err, codes.InvalidArgument, row.says)
	}
	if _, err := r.Flows.List(limited(t), &weirv1.ListRequest{PageToken: own, PageSize: 7}); err != nil {
		t.Errorf("a token with another page size: %v", err)
	}
}
