// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"io"
	"iter"
	"math"

	pb "github.com/weirnet/weir/api/v1"
)

// Play yields what a watch of the kept flows would answer if they were those of
// the recording. Filters, times, last and limit of the request hold; an error
// of them comes first and says what is wrong. Losses are told whatever the
// filters say: they were not asked about what was lost.
func Play(from io.Reader, req *pb.WatchRequest) iter.Seq2[*pb.WatchResponse, error] {
	return func(yield func(*pb.WatchResponse, error) bool) {
		passes, err := Compile(req)
		if err != nil {
			yield(nil, err)
			return
		}
		p := player{passes: passes, last: int(min(req.GetLast(), math.MaxInt32)), left: int(req.GetLimit()), yield: yield}
		if p.left == 0 {
			p.left = math.MaxInt
		}
		for r, err := range Read(from) {
			if err != nil {
				if p.drain() {
					yield(nil, err)
				}
				return
			}
			if !p.take(r) {
				return
			}
		}
		p.drain()
	}
}

// batchFlows bounds one response, as at the agent: whoever writes lines aligns
// those of a response, and writes them in one piece.
const batchFlows = 256

type player struct {
	passes func(*pb.Flow) bool
	last   int // 0: all
	left   int // that may still be told
	yield  func(*pb.WatchResponse, error) bool
	batch  []*pb.Flow // to be told
	// The newest of last, oldest at index first.
	held  []*pb.Flow
	first int
}

func (p *player) take(r *pb.WatchResponse) bool {
	if len(r.GetFlows()) == 0 {
		return p.flush() && p.yield(r, nil)
	}
	f := r.GetFlows()[0]
	switch {
	case !p.passes(f):
		return true
	case p.last == 0:
		return p.tell(f)
	case len(p.held) < p.last:
		p.held = append(p.held, f)
		return true
	}
	p.held[p.first] = f
	p.first = (p.first + 1) % p.last
	return true
}

func (p *player) tell(f *pb.Flow) bool {
	p.batch = append(p.batch, f)
	if p.left--; p.left > 0 && len(p.batch) < batchFlows {
		return true
	}
	return p.flush() && p.left > 0
}

func (p *player) flush() bool {
	if len(p.batch) == 0 {
		return true
	}
	r := &pb.WatchResponse{Flows: p.batch, Sequence: p.batch[len(p.batch)-1].GetSequence()}
	p.batch = nil
	return p.yield(r, nil)
}

// drain tells what was held, and reports whether the reader wants more.
func (p *player) drain() bool {
	for i := range p.held {
		if !p.tell(p.held[(p.first+i)%len(p.held)]) {
			return false
		}
	}
	return p.flush()
}
