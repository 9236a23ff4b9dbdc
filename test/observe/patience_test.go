// SPDX-License-Identifier: Apache-2.0

//go:build long

// Tests that take minutes, since they wait for what the agent does every so
// often; flows/recorder_test.go has the same with a clock of its own.

package observe

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// A connection that goes on is told of every 30 s.
func TestActiveShown(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	conn, err := s.frontend.Dial("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer)
	s.must(err)
	defer conn.Close()
	var r *record
	err = s.within(50*time.Second, func(context.Context) (err error) {
		s.must(netns.Exchange(conn, "weir", answer))
		r, err = s.shown("FLOW_KIND_ACTIVE", portOf(conn))
		return err
	})
	s.must(err)
	took, err := time.ParseDuration(r.Duration)
	if err != nil || took < 25*time.Second || r.Sent.Packets < 100 || r.Answered.Packets < 100 || r.EndReason != "" {
		t.Errorf("%+v", r)
	}
}

// A UDP exchange ends when it is silent for three minutes, and a packet that
// nobody answered after half a minute.
func TestExpiredShown(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	answered, err := s.frontend.Dial("udp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer)
	s.must(err)
	defer answered.Close()
	s.must(netns.Exchange(answered, "weir", answer))
	silent, err := s.frontend.Dial("udp", netip.AddrPortFrom(s.stranger.Addrs[0], 9), answer)
	s.must(err)
	defer silent.Close()
	_, err = silent.Write([]byte("nobody listens"))
	s.must(err)
	for _, row := range []struct {
		what           string
		port           int
		packets, bytes uint64 // answered
		sent           uint64 // bytes
		within         time.Duration
	}{
		{"a packet without answer", portOf(silent), 0, 0, 28 + 14, 50 * time.Second},
		{"an exchange", portOf(answered), 1, 28 + 4, 28 + 4, 200 * time.Second},
	} {
		var r *record
		err := s.within(row.within, func(context.Context) (err error) { r, err = s.shown("FLOW_KIND_CLOSED", row.port); return err })
		if err != nil {
			t.Errorf("%s: %v", row.what, err)
			continue
		}
		if r.EndReason != "END_REASON_EXPIRED" || r.Sent != (traffic{Packets: 1, Bytes: row.sent}) || r.Answered != (traffic{Packets: row.packets, Bytes: row.bytes}) {
			t.Errorf("%s: %+v", row.what, r)
		}
	}
}
