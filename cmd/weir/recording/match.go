// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

// asks is what the requests for flows have in common.
type asks interface {
	GetFilter() *pb.FlowFilter
	GetInclude() []*pb.FlowFilter
	GetExclude() []*pb.FlowFilter
	GetSince() *timestamppb.Timestamp
	GetUntil() *timestamppb.Timestamp
}

// clause is a filter whose every test must pass.
type clause []func(*pb.Flow) bool

func (c clause) matches(f *pb.Flow) bool {
	return !slices.ContainsFunc(c, func(test func(*pb.Flow) bool) bool { return !test(f) })
}

// Compile returns the test that the filters and times of a request are. Its
// error names each field with a value that can match nothing.
func Compile(req asks) (func(*pb.Flow) bool, error) {
	c := &compiler{}
	all := c.clause("filter", req.GetFilter())
	var include, exclude []clause
	for i, f := range req.GetInclude() {
		include = append(include, c.clause(fmt.Sprintf("include[%d]", i), f))
	}
	for i, f := range req.GetExclude() {
		exclude = append(exclude, c.clause(fmt.Sprintf("exclude[%d]", i), f))
	}
	if since := req.GetSince(); since != nil {
		all = append(all, func(f *pb.Flow) bool { return !f.GetTime().AsTime().Before(since.AsTime()) })
	}
	if until := req.GetUntil(); until != nil {
		all = append(all, func(f *pb.Flow) bool { return f.GetTime().AsTime().Before(until.AsTime()) })
	}
	return func(f *pb.Flow) bool {
		passes := func(c clause) bool { return c.matches(f) }
		return all.matches(f) && (len(include) == 0 || slices.ContainsFunc(include, passes)) && !slices.ContainsFunc(exclude, passes)
	}, errors.Join(c.errs...)
}

// compiler collects what is wrong with a request.
type compiler struct{ errs []error }

func (c *compiler) bad(field string, value any, accepted string) {
	c.errs = append(c.errs, fmt.Errorf("%s: %#v is not %s", field, value, accepted))
}

func (c *compiler) clause(field string, s *pb.FlowFilter) clause {
	var out clause
	// Each of these may match at another end.
	out = c.ends(out, field, &pb.PeerFilter{Pods: s.GetPods()}, eitherEnd)
	out = c.ends(out, field, &pb.PeerFilter{Namespaces: s.GetNamespaces()}, eitherEnd)
	out = c.ends(out, field, &pb.PeerFilter{Ips: s.GetIps()}, eitherEnd)
	out = c.ends(out, field, &pb.PeerFilter{Ports: s.GetPorts()}, eitherEnd)
	out = c.ends(out, field+".source", s.GetSource(), func(f *pb.Flow) []*pb.Peer { return []*pb.Peer{f.GetSource()} })
	out = c.ends(out, field+".destination", s.GetDestination(), destinations)
	out = c.ends(out, field+".either", s.GetEither(), eitherEnd)
	return append(out, c.record(field, s)...)
}

func eitherEnd(f *pb.Flow) []*pb.Peer { return append(destinations(f), f.GetSource()) }

func destinations(f *pb.Flow) []*pb.Peer {
	if f.GetService() == nil {
		return []*pb.Peer{f.GetDestination()}
	}
	return []*pb.Peer{f.GetDestination(), f.GetService()}
}

// ends adds the test that one of some ends of a flow passes a filter as a
// whole, if that says anything.
func (c *compiler) ends(to clause, field string, s *pb.PeerFilter, of func(*pb.Flow) []*pb.Peer) clause {
	tests := c.peer(field, s)
	if len(tests) == 0 {
		return to
	}
	passes := func(p *pb.Peer) bool {
		return !slices.ContainsFunc(tests, func(test func(*pb.Peer) bool) bool { return !test(p) })
	}
	return append(to, func(f *pb.Flow) bool { return slices.ContainsFunc(of(f), passes) })
}

// record: all but the two ends.
func (c *compiler) record(field string, s *pb.FlowFilter) clause {
	var out clause
	out = among(out, s.GetProtocols(), (*pb.Flow).GetProtocol)
	out = among(out, s.GetVerdicts(), (*pb.Flow).GetVerdict)
	out = among(out, s.GetReasons(), (*pb.Flow).GetReason)
	out = among(out, s.GetDirections(), (*pb.Flow).GetDirection)
	out = among(out, s.GetKinds(), (*pb.Flow).GetKind)
	out = among(out, s.GetNodes(), (*pb.Flow).GetNode)
	out = among(out, s.GetIds(), (*pb.Flow).GetId)
	out = among(out, s.GetEndReasons(), (*pb.Flow).GetEndReason)
	out = among(out, s.GetInterfaces(), (*pb.Flow).GetInterface)
	if s != nil && s.Reply != nil {
		out = append(out, func(f *pb.Flow) bool { return f.GetReply() == s.GetReply() })
	}
	if flags := s.GetTcpFlags(); len(flags) > 0 {
		out = append(out, func(f *pb.Flow) bool {
			return f.GetProtocol() == protoTCP && slices.ContainsFunc(flags, func(t *pb.TcpFlagFilter) bool {
				return f.GetTcpFlags()&t.GetSet() == t.GetSet() && f.GetTcpFlags()&t.GetUnset() == 0
			})
		})
	}
	return append(out, c.policies(field, s)...)
}

const protoTCP = 6

func (c *compiler) policies(field string, s *pb.FlowFilter) clause {
	var out clause
	if names := c.names(field+".policies", s.GetPolicies()); len(names) > 0 {
		out = append(out, func(f *pb.Flow) bool {
			asked := func(p *pb.PolicyRef) bool { return named(names, p.GetNamespace(), p.GetName()) }
			return f.GetRule() != nil && asked(f.GetRule().GetPolicy()) || slices.ContainsFunc(f.GetIsolating(), asked)
		})
	}
	var rules []func(*pb.RuleRef) bool
	for _, rule := range s.GetRules() {
		names := c.names(field+".rules.policy", []string{rule.GetPolicy()})
		rules = append(rules, func(r *pb.RuleRef) bool {
			return named(names, r.GetPolicy().GetNamespace(), r.GetPolicy().GetName()) &&
				(rule.GetDirection() == 0 || rule.GetDirection() == r.GetDirection()) &&
				(rule.Index == nil || rule.GetIndex() == r.GetIndex())
		})
	}
	if len(rules) > 0 {
		out = append(out, func(f *pb.Flow) bool {
			return f.GetRule() != nil && slices.ContainsFunc(rules, func(matches func(*pb.RuleRef) bool) bool { return matches(f.GetRule()) })
		})
	}
	return out
}

// among adds a test that a value of the flow is one of a list, if there is one.
func among[T comparable](to clause, list []T, value func(*pb.Flow) T) clause {
	if len(list) == 0 {
		return to
	}
	return append(to, func(f *pb.Flow) bool { return slices.Contains(list, value(f)) })
}
