// SPDX-License-Identifier: Apache-2.0

package output

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/weirnet/weir/api/v1"
)

func TestEscape(t *testing.T) {
	rows := []struct{ in, want string }{
		{"", ""},
		{"web-7", "web-7"},
		{`a\b "c"`, `a\b "c"`},
		{"größe 水", "größe 水"},
		{"a\nb\r\tc\x00", `a\x0ab\x0d\x09c\x00`},
		{"\x1b[2J", `\x1b[2J`},
		{"\x7f", `\x7f`},
		{"\u009b31m", `\u009b31m`},
		{"\u202egnp.exe", `\u202egnp.exe`},
		{"a\u200bb\u2028c", `a\u200bb\u2028c`},
		{"\ufeff\U000e0001", `\ufeff\U000e0001`},
		{"\xff\xc3", `\xff\xc3`},
		{"\ufffd", "\ufffd"},
		{"ok \ufffd\xff", "ok \ufffd\\xff"},
	}
	for _, row := range rows {
		if got := Escape(row.in); got != row.want {
			t.Errorf("Escape(%q) = %q, want %q", row.in, got, row.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("\x1b[31m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Escape(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q became invalid UTF-8: %q", s, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q became %q, which holds %U", s, got, r)
			}
		}
	})
}

const hostileText = "x\x1b[31m\n\r\t\x00\x7f\u009b2J\u202e\u2028\U000e0001y"

// hostile fills every field of a message, down to a depth, with text that
// acts on terminals.
func hostile(m proto.Message) proto.Message {
	fill(m.ProtoReflect(), hostileText, 4)
	return m
}

func tame(m proto.Message) proto.Message {
	fill(m.ProtoReflect(), "name", 4)
	return m
}

func fill(m protoreflect.Message, text string, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap() && f.MapValue().Kind() == protoreflect.Uint32Kind:
			m.Mutable(f).Map().Set(protoreflect.ValueOf(text).MapKey(), protoreflect.ValueOfUint32(1))
		case f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOf(text).MapKey(), protoreflect.ValueOf(text))
		case f.Kind() == protoreflect.StringKind && f.IsList():
			m.Mutable(f).List().Append(protoreflect.ValueOf(text))
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOf(text))
		case f.Kind() == protoreflect.MessageKind && depth > 0 && f.IsList():
			fill(m.Mutable(f).List().AppendMutable().Message(), text, depth-1)
		case f.Kind() == protoreflect.MessageKind && depth > 0:
			fill(m.Mutable(f).Message(), text, depth-1)
		case f.Kind() == protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(true))
		case f.Kind() == protoreflect.EnumKind:
			m.Set(f, protoreflect.ValueOfEnum(1))
		}
	}
}

// render writes everything that this package can write, made from messages
// that fill has filled.
func render(t *testing.T, fill func(proto.Message) proto.Message) map[string]string {
	t.Helper()
	written := map[string]string{}
	write := func(name string, render func(b *strings.Builder) error) {
		var b strings.Builder
		if err := render(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		written[name] = b.String()
	}
	for number, reason := range pb.Reason_name {
		f := fill(&pb.Flow{}).(*pb.Flow)
		f.Reason = pb.Reason(number)
		for identity := range pb.Identity_name {
			f.Source.Identity, f.Destination.Identity = pb.Identity(identity), pb.Identity(identity)
			for _, format := range []Format{Compact, Wide, Table, Dict, JSON, YAML} {
				name := reason + " " + pb.Identity(identity).String() + " " + string(format)
				write(name, func(b *strings.Builder) error { return NewFlows(b, format, Style{}).Write([]*pb.Flow{f}) })
			}
		}
	}
	asked := fill(&pb.ExplainRequest{}).(*pb.ExplainRequest)
	explained := fill(&pb.ExplainResponse{}).(*pb.ExplainResponse)
	write("explain", func(b *strings.Builder) error { return Explanation(b, asked, explained, Style{}) })
	far := proto.CloneOf(explained)
	far.Ends[0].Here = false
	write("explain far", func(b *strings.Builder) error { return Explanation(b, asked, far, Style{}) })
	write("explain unknown", func(b *strings.Builder) error { return Explanation(b, asked, &pb.ExplainResponse{}, Style{}) })
	state := fill(&pb.StatusResponse{}).(*pb.StatusResponse)
	write("status", func(b *strings.Builder) error { return Status(b, state, time.Unix(0, 0), Style{}) })
	unready := proto.CloneOf(state)
	unready.Ready, unready.Conditions[0].Ok = false, false
	write("status unready", func(b *strings.Builder) error { return Status(b, unready, time.Unix(0, 0), Style{}) })
	list := fill(&pb.EndpointsResponse{}).(*pb.EndpointsResponse)
	write("endpoints", func(b *strings.Builder) error { return Endpoints(b, list.Endpoints, Style{}) })
	sum := fill(&pb.SummarizeResponse{}).(*pb.SummarizeResponse)
	write("drops", func(b *strings.Builder) error { return Drops(b, sum, Style{}) })
	write("top", func(b *strings.Builder) error { return Top(b, sum, everyKey(), Style{}) })
	nameless := proto.CloneOf(sum)
	for _, p := range []*pb.Peer{nameless.Groups[0].Source, nameless.Groups[0].Destination} {
		p.Workload, p.Name, p.Ip = nil, "", ""
	}
	write("top of namespaces", func(b *strings.Builder) error { return Top(b, nameless, everyKey(), Style{}) })
	write("status as YAML", func(b *strings.Builder) error { return WriteYAML(b, state) })
	policy := fill(&pb.Policy{}).(*pb.Policy)
	write("policies", func(b *strings.Builder) error { return Policies(b, []*pb.Policy{policy}, Style{}) })
	write("policy", func(b *strings.Builder) error { return Policy(b, policy, Style{}) })
	return written
}

// Whatever field a renderer forgets to escape, this finds it: all fields are
// hostile at once, and no text may act on a terminal or add a line.
func TestNothingHostileReachesTheTerminal(t *testing.T) {
	clean := render(t, tame)
	for name, text := range render(t, hostile) {
		for _, r := range text {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%s: %U comes through: %q", name, r, text)
				break
			}
		}
		if got, want := strings.Count(text, "\n"), strings.Count(clean[name], "\n"); got != want {
			t.Errorf("%s: %d lines instead of %d", name, got, want)
		}
	}
}
