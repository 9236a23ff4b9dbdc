// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
)

const (
	defaultPage = 1000
	maxPage     = 10000
	// pageBytes bounds a page by weight: gRPC clients take 4 MiB unless told
	// otherwise.
	pageBytes = 3 << 20
)

// newRunID makes a name that no other run has.
func newRunID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// List implements weirv1.FlowsServer.
func (s *flowService) List(ctx context.Context, req *weirv1.ListRequest) (*weirv1.ListResponse, error) {
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	if size > maxPage {
		return nil, invalid("page_size: %d is above %d", size, maxPage)
	}
	scope, err := scopeOf(ctx, namedNamespaces(req)...)
	if err != nil {
		return nil, err
	}
	filter, err := s.compileFilter(req, scope, req.GetSince(), req.GetUntil())
	if err != nil {
		return nil, err
	}
	oldest, newest := s.store.Bounds()
	place := page{after: oldest - 1, until: newest, listing: s.listing(req)}
	if token := req.GetPageToken(); token != "" {
		if place, err = readToken(token, place); err != nil {
			return nil, err
		}
	}
	if place.after >= place.until {
		return &weirv1.ListResponse{}, nil
	}
	return s.page(filter, place, size), nil
}

// page reads on from a place, up to size flows or pageBytes.
func (s *flowService) page(filter *flows.Filter, place page, size int) *weirv1.ListResponse {
	r := s.store.Subscribe(filter, place.after)
	defer r.Close()
	out := &weirv1.ListResponse{}
	cursor, weight, done := place.after, 0, false
	batch := make([]*flows.Flow, 0, batchFlows)
	for !done && len(out.Flows) < size && weight < pageBytes {
		batch, done = r.Read(batch[:0], min(batchFlows, size-len(out.Flows)), place.until)
		cursor = r.Cursor()
		for i, f := range batch {
			p := flowProto(f, s.node)
			out.Flows = append(out.Flows, p)
			if weight += proto.Size(p); weight >= pageBytes && i < len(batch)-1 {
				cursor = f.Sequence // the rest of the batch is the next page's
				break
			}
		}
	}
	out.Missed = min(r.Missed(), place.until-place.after)
	if place.after = cursor; place.after < place.until {
		out.NextPageToken = place.token()
	}
	return out
}

// page is a place in a listing. Its token says no more than that, so forging
// one gives nobody anything that the listing itself would not.
type page struct {
	after, until uint64
	listing      [16]byte
}

// listing stands for the run and the request without its page: a token of
// another is refused, since its sequences mean something else.
func (s *flowService) listing(req *weirv1.ListRequest) [16]byte {
	plain := &weirv1.ListRequest{
		Filter: req.GetFilter(), Include: req.GetInclude(), Exclude: req.GetExclude(),
		Since: req.GetSince(), Until: req.GetUntil(),
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(s.runID), s.runID)
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(plain) // fails only for text that is not UTF-8, which was never unmarshalled
	h.Write(b)
	return [16]byte(h.Sum(nil))
}

func (p page) token() string {
	b := binary.BigEndian.AppendUint64(nil, p.after)
	b = binary.BigEndian.AppendUint64(b, p.until)
	b = append(b, p.listing[:]...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// readToken accepts a token of the listing of which first is the first page.
func readToken(token string, first page) (page, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 32 {
		return page{}, invalid("page_token: not a token of weir-agent; pass next_page_token as it came, or begin without one")
	}
	p := page{
		after:   binary.BigEndian.Uint64(b),
		until:   binary.BigEndian.Uint64(b[8:]),
		listing: [16]byte(b[16:]),
	}
	if p.listing != first.listing {
		return page{}, invalid("page_token: of another filter or of an earlier run of weir-agent; begin again without a token")
	}
	if p.after > p.until || p.until > first.until {
		return page{}, invalid("page_token: names a place that does not exist; begin again without a token")
	}
	return p, nil
}
