// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFrames(t *testing.T) {
	stream := "\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x00\x00\x02de"
	f := frames{from: iotest.OneByteReader(strings.NewReader(stream))}
	for _, want := range []string{"abc", "", "de"} {
		if got, err := f.next(); err != nil || string(got) != want {
			t.Errorf("event %q, %v, want %q", got, err, want)
		}
	}
	if _, err := f.next(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last event: %v, want %v", err, io.EOF)
	}
	for _, row := range []struct{ stream, want string }{
		{"\x00\x00\x00\x03ab", "unexpected EOF"},
		{`{"type":"ADDED"}`, "no protobuf stream"},
	} {
		f := frames{from: strings.NewReader(row.stream)}
		if got, err := f.next(); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %q, %v, want %q", row.stream, got, err, row.want)
		}
	}
}

func TestEndsList(t *testing.T) {
	end := []byte("BOOKMARK k8s.io/initial-events-end true")
	for _, row := range []struct {
		event []byte
		want  bool
	}{{end, true}, {[]byte("BOOKMARK"), false}, {[]byte("ADDED k8s.io/initial-events-end"), false}, {append(end, bytes.Repeat([]byte{0}, 5000)...), false}} {
		if got := endsList(row.event); got != row.want {
			t.Errorf("%.50q: %v, want %v", row.event, got, row.want)
		}
	}
}
