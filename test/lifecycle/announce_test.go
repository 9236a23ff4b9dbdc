// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weirnet/weir/api/v1"
)

// announced is what a CNI plugin does: the answer comes when policy holds, so
// what the pod or others send at once is judged by it.
func announced(s *stage) {
	generation := s.generation()
	s.declare(describe("told", "server", 26))
	s.await("the agent knows the pod", func() bool { return s.generation() > generation })
	pod := s.wire("told", 26)
	s.serve(pod)
	request := &weirv1.AnnounceRequest{Namespace: "shop", Name: "told", Uid: "uid-of-shop-told", Interface: pod.Ifname}
	for _, a := range pod.Addrs {
		request.Ips = append(request.Ips, a.String())
	}
	answer, err := s.Agent().Announce(s.t.Context(), request)
	must(s.t, err)
	if answer.GetState() != "enforced" {
		s.t.Errorf("announced: %s, want enforced", answer.GetState())
	}
	s.refuses("stranger to the announced server", s.stranger, pod)
	s.passes("client to the announced server", s.client, pod)

	again, err := s.Agent().Announce(s.t.Context(), request)
	must(s.t, err)
	if again.GetState() != "enforced" {
		s.t.Errorf("announced again: %s, want enforced", again.GetState())
	}
	for _, wrong := range []struct {
		what, names string
		code        codes.Code
		change      func(*weirv1.AnnounceRequest)
	}{
		{"another pod on the same interface", "shop/told", codes.AlreadyExists, func(r *weirv1.AnnounceRequest) { r.Name, r.Uid = "other", "uid-of-other" }},
		{"no such interface", "nowhere", codes.NotFound, func(r *weirv1.AnnounceRequest) { r.Interface = "nowhere" }},
		{"no address", "nonsense", codes.InvalidArgument, func(r *weirv1.AnnounceRequest) { r.Ips = []string{"nonsense"} }},
	} {
		r := &weirv1.AnnounceRequest{Namespace: "shop", Name: "told", Uid: "uid-of-shop-told", Interface: pod.Ifname, Ips: request.Ips}
		wrong.change(r)
		_, err := s.Agent().Announce(s.t.Context(), r)
		if status.Code(err) != wrong.code || !strings.Contains(status.Convert(err).Message(), wrong.names) {
			s.t.Errorf("%s: %v, want %s that names %q", wrong.what, err, wrong.code, wrong.names)
		}
	}
	_, err = s.Agent().Retract(s.t.Context(), &weirv1.RetractRequest{Namespace: "shop", Name: "told", Uid: "uid-of-shop-told"})
	must(s.t, err)
	s.remove(pod, "told")
	s.gone(pod.Ifindex)
}
