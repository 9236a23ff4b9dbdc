// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// reviewServer answers as an API server does, and counts what it is asked.
type reviewServer struct {
	mu            sync.Mutex
	tokens, rules int
	away          bool
	status        func(token string) authenticationv1.TokenReviewStatus
	allowed       map[string]bool // "user namespace"
	bad           []string
}

func account(namespace string, audiences ...string) authenticationv1.TokenReviewStatus {
	return authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: audiences, User: authenticationv1.UserInfo{
		Username: "system:serviceaccount:" + namespace + ":weir-viewer", UID: "u", Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"e": {"v"}}}}
}

func (s *reviewServer) reviewer(t *testing.T, change func(*ReviewerOptions)) (*Reviewer, *handClock) {
	t.Helper()
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens++
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if len(review.Spec.Audiences) != 1 || review.Spec.Audiences[0] != "weir.dev" {
			s.bad = append(s.bad, fmt.Sprint("audiences ", review.Spec.Audiences))
		}
		if s.away {
			return true, nil, errors.New("connection refused")
		}
		review.Status = s.status(review.Spec.Token)
		return true, review, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rules++
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		r := review.Spec.ResourceAttributes
		if r.Verb != "get" || r.Group != "weir.dev" || r.Resource != "flows" || review.Spec.UID != "u" || review.Spec.Groups[0] != "g" || review.Spec.Extra["e"][0] != "v" {
			s.bad = append(s.bad, fmt.Sprintf("%+v %+v", review.Spec, r))
		}
		if s.away {
			return true, nil, errors.New("connection refused")
		}
		review.Status.Allowed = s.allowed[review.Spec.User+" "+r.Namespace]
		return true, review, nil
	})
	clock := &handClock{now: time.Unix(1, 0)}
	o := ReviewerDefaults()
	o.Client, o.Clock, o.PerSecond = client, clock, 1e6
	o.Burst = 1000
	if change != nil {
		change(&o)
	}
	r, err := NewReviewer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if len(s.bad) > 0 {
			t.Errorf("asked wrongly: %v", s.bad)
		}
	})
	return r, clock
}

func TestTokens(t *testing.T) {
	anonymous := account("shop", "weir.dev")
	anonymous.User.Username = "system:anonymous"
	for _, row := range []struct {
		what   string
		status authenticationv1.TokenReviewStatus
		home   string
		says   string // empty: taken
	}{
		{"good", account("shop", "weir.dev"), "shop", ""},
		{"of somebody else", authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"weir.dev"}, User: authenticationv1.UserInfo{Username: "jane"}}, "", ""},
		{"for another audience", account("shop", "https://kubernetes.default.svc"), "", "for the audience weir.dev"},
		{"of a server without audiences", account("shop"), "", "for the audience weir.dev"},
		{"refused", authenticationv1.TokenReviewStatus{}, "", "expired, or not for the audience"},
		{"refused with a reason", authenticationv1.TokenReviewStatus{Error: "signature"}, "", "signature"},
		{"nobody's", anonymous, "", "names nobody"},
	} {
		s := &reviewServer{status: func(string) authenticationv1.TokenReviewStatus { return row.status }}
		r, _ := s.reviewer(t, nil)
		user, err := r.User(t.Context(), "token")
		switch {
		case row.says == "" && (err != nil || user.Namespace != row.home || user.Name != row.status.User.Username):
			t.Errorf("%s: %+v, %v", row.what, user, err)
		case row.says != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), row.says)):
			t.Errorf("%s: %v, want %q", row.what, err, row.says)
		}
	}
	r, _ := (&reviewServer{}).reviewer(t, nil)
	for _, token := range []string{"", strings.Repeat("x", longestToken+1)} {
		if _, err := r.User(t.Context(), token); !errors.Is(err, ErrRefused) {
			t.Errorf("a token of %d bytes: %v", len(token), err)
		}
	}
}

// Answers are believed for their time and no longer; none is made up.
func TestAnswersAreRemembered(t *testing.T) {
	good := true
	s := &reviewServer{allowed: map[string]bool{}, status: func(string) authenticationv1.TokenReviewStatus {
		if good {
			return account("shop", "weir.dev")
		}
		return authenticationv1.TokenReviewStatus{}
	}}
	r, clock := s.reviewer(t, nil)
	look := func(what string, tokens, rules int, may bool) {
		t.Helper()
		user, err := r.User(t.Context(), "token")
		got := false
		if err == nil {
			if got, err = r.May(t.Context(), user, "shop"); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if s.tokens != tokens || s.rules != rules || got != may {
			t.Errorf("%s: asked %d and %d times, may %t; want %d, %d, %t", what, s.tokens, s.rules, got, tokens, rules, may)
		}
	}
	look("first", 1, 1, false)
	look("again", 1, 1, false)
	s.allowed["system:serviceaccount:shop:weir-viewer shop"] = true
	look("before the refusal's time", 1, 1, false)
	clock.pass(11 * time.Second)
	look("after it", 1, 2, true)
	clock.pass(45 * time.Second)
	look("within the minute", 1, 2, true)
	s.allowed = nil
	good = false
	clock.pass(6 * time.Second)
	look("the token has ended", 2, 2, false)
	look("and is refused from memory", 2, 2, false)
	good = true
	clock.pass(61 * time.Second)
	look("taken again, the right is gone", 3, 3, false)
	s.away = true
	clock.pass(2 * time.Minute)
	if _, err := r.User(t.Context(), "token"); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("the server is away: %v", err)
	}
	s.away = false
	look("it is back", 5, 4, false)
	s.away = true
	clock.pass(11 * time.Second)
	user, _ := r.User(t.Context(), "token")
	if may, err := r.May(t.Context(), user, "shop"); may || err == nil {
		t.Errorf("the server is away: %t, %v", may, err)
	}
}

// Random tokens neither burden the server without bound nor push good ones out.
func TestRandomTokens(t *testing.T) {
	s := &reviewServer{status: func(token string) authenticationv1.TokenReviewStatus {
		if token == "good" {
			return account("shop", "weir.dev")
		}
		return authenticationv1.TokenReviewStatus{}
	}}
	r, _ := s.reviewer(t, func(o *ReviewerOptions) { o.PerSecond, o.Burst, o.Answers = 1e-9, 5, 4 })
	if _, err := r.User(t.Context(), "good"); err != nil {
		t.Fatal(err)
	}
	limited := 0
	for i := range 100 {
		if _, err := r.User(t.Context(), fmt.Sprint("random", i)); errors.Is(err, ErrTooManyReviews) {
			limited++
		}
	}
	if s.tokens != 5 || limited != 96 {
		t.Errorf("%d reviews, %d told that there are too many; want 5 and 96", s.tokens, limited)
	}
	if _, err := r.User(t.Context(), "good"); err != nil {
		t.Errorf("the good token is out: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.User(ctx, "x"); err == nil {
		t.Error("a call that is over is let in")
	}
}
