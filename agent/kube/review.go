// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
)

// What a token must be meant for, and what its bearer must be allowed to get.
// No such resource is served: it is there to be asked about.
const (
	Audience      = "weir.dev"
	flowsGroup    = "weir.dev"
	flowsResource = "flows"
)

// Errors of a Reviewer; any other is of the API server, or of the way to it.
var (
	// ErrRefused: the API server does not take the token, or not for weir.
	ErrRefused = errors.New("the API server does not take the token")
	// ErrTooManyReviews: more would burden the API server.
	ErrTooManyReviews = errors.New("too many callers at once")
)

// longestToken, in bytes. Tokens of ServiceAccounts have about a thousand.
const longestToken = 16 << 10

// ReviewerOptions configure a Reviewer.
type ReviewerOptions struct {
	// Client may create tokenreviews and subjectaccessreviews.
	Client kubernetes.Interface
	// Remember is how long an answer is believed, Refusal how long a refusal: so
	// long may a token that was taken back still be taken, or a right that was
	// given still be missing.
	Remember, Refusal time.Duration
	// Answers is how many answers of a kind are remembered; the one that was
	// asked for longest ago gives way.
	Answers int
	// PerSecond and Burst bound the requests to the API server.
	PerSecond float64
	Burst     int
	// Timeout of one request.
	Timeout time.Duration
	// Clock of what is remembered.
	Clock cache.Clock
}

// ReviewerDefaults are the options that have a sensible value by themselves.
func ReviewerDefaults() ReviewerOptions {
	return ReviewerOptions{
		Remember: time.Minute, Refusal: 10 * time.Second, Answers: 1024,
		PerSecond: 20, Burst: 40, Timeout: 5 * time.Second, Clock: wallClock{},
	}
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

// Validate names everything that is absent or out of range.
func (o ReviewerOptions) Validate() error {
	var errs []error
	if o.Client == nil || o.Clock == nil {
		errs = append(errs, errors.New("reviews: the client or the clock is absent"))
	}
	if o.Remember <= 0 || o.Refusal <= 0 || o.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("reviews: %s, %s and %s are not all above 0", o.Remember, o.Refusal, o.Timeout))
	}
	if o.Answers <= 0 || o.PerSecond <= 0 || o.Burst <= 0 {
		errs = append(errs, fmt.Errorf("reviews: %d answers, %v a second and %d at once are not all above 0", o.Answers, o.PerSecond, o.Burst))
	}
	return errors.Join(errs...)
}

// Reviewer asks the API server who somebody is and what he may see, and
// remembers what it said. An answer that cannot be had is an error, never a yes.
// Its methods may be called by several goroutines.
type Reviewer struct {
	options ReviewerOptions
	limit   *rate.Limiter
	running singleflight.Group
	// Refusals have places of their own: whoever tries tokens at random pushes
	// no good one out.
	users, refused *cache.LRUExpireCache
	may, mayNot    *cache.LRUExpireCache
}

// User is who a token stands for, as the API server says.
type User struct {
	Name string
	// Namespace of a ServiceAccount; empty: it is none.
	Namespace string
	info      authenticationv1.UserInfo
}

// NewReviewer checks the options and asks nothing yet.
func NewReviewer(o ReviewerOptions) (*Reviewer, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	answers := func() *cache.LRUExpireCache { return cache.NewLRUExpireCacheWithClock(o.Answers, o.Clock) }
	return &Reviewer{
		options: o, limit: rate.NewLimiter(rate.Limit(o.PerSecond), o.Burst),
		users: answers(), refused: answers(), may: answers(), mayNot: answers(),
	}, nil
}

// User tells whose token this is. It wraps ErrRefused and ErrTooManyReviews.
func (r *Reviewer) User(ctx context.Context, token string) (*User, error) {
	if token == "" || len(token) > longestToken {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrRefused, len(token))
	}
	// The token itself is not kept longer than the call.
	key := fmt.Sprintf("%x", sha256.Sum256([]byte(token)))
	if user, ok := r.users.Get(key); ok {
		return user.(*User), nil
	}
	if err, ok := r.refused.Get(key); ok {
		return nil, err.(error)
	}
	answer, err := r.once(ctx, "token "+key, func(ctx context.Context) (any, error) { return r.reviewToken(ctx, token) })
	switch {
	case err == nil:
		r.users.Add(key, answer, r.options.Remember)
		return answer.(*User), nil
	case errors.Is(err, ErrRefused):
		r.refused.Add(key, err, r.options.Refusal)
	}
	return nil, err
}

// May tells whether the user may see the flows of a namespace; empty: of all.
// It wraps ErrTooManyReviews.
func (r *Reviewer) May(ctx context.Context, u *User, namespace string) (bool, error) {
	key := accessKey(u, namespace)
	if _, ok := r.may.Get(key); ok {
		return true, nil
	}
	if _, ok := r.mayNot.Get(key); ok {
		return false, nil
	}
	answer, err := r.once(ctx, "access "+key, func(ctx context.Context) (any, error) { return r.reviewAccess(ctx, u, namespace) })
	if err != nil {
		return false, err
	}
	if !answer.(bool) {
		r.mayNot.Add(key, nil, r.options.Refusal)
		return false, nil
	}
	r.may.Add(key, nil, r.options.Remember)
	return true, nil
}

// accessKey holds all that an authorizer may look at; lengths keep one field
// from running into the next.
func accessKey(u *User, namespace string) string {
	h := sha256.New()
	part := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	part(namespace)
	part(u.info.Username)
	part(u.info.UID)
	for _, group := range u.info.Groups {
		part(group)
	}
	part("") // no group is empty: here the groups end
	for _, name := range sortedKeys(u.info.Extra) {
		part(name)
		for _, value := range u.info.Extra[name] {
			part(value)
		}
		part("")
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func sortedKeys(m map[string]authenticationv1.ExtraValue) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// once asks the same question once for all who wait for it. It goes on when
// one of them leaves: another may need the answer.
func (r *Reviewer) once(ctx context.Context, key string, ask func(context.Context) (any, error)) (any, error) {
	done := r.running.DoChan(key, func() (any, error) {
		if !r.limit.Allow() {
			return nil, fmt.Errorf("%w: more than %v reviews a second; try again", ErrTooManyReviews, r.options.PerSecond)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.options.Timeout)
		defer cancel()
		return ask(ctx)
	})
	select {
	case result := <-done:
		return result.Val, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *Reviewer) reviewToken(ctx context.Context, token string) (*User, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{Audience}}}
	answer, err := r.options.Client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask the API server about a token: %w", err)
	}
	s := answer.Status
	switch {
	case !s.Authenticated && s.Error != "":
		return nil, fmt.Errorf("%w: %s", ErrRefused, s.Error)
	case !s.Authenticated:
		return nil, fmt.Errorf("%w: it is expired, or not for the audience %s", ErrRefused, Audience)
	case !slices.Contains(s.Audiences, Audience):
		// A server that knows nothing of audiences leaves the list empty: the
		// token may be anybody's for anything.
		return nil, fmt.Errorf("%w for the audience %s", ErrRefused, Audience)
	case s.User.Username == "" || s.User.Username == "system:anonymous":
		return nil, fmt.Errorf("%w: it names nobody", ErrRefused)
	}
	return &User{Name: s.User.Username, Namespace: accountNamespace(s.User.Username), info: s.User}, nil
}

// accountNamespace of system:serviceaccount:NAMESPACE:NAME.
func accountNamespace(user string) string {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if namespace, _, found := strings.Cut(rest, ":"); ok && found {
		return namespace
	}
	return ""
}

func (r *Reviewer) reviewAccess(ctx context.Context, u *User, namespace string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for name, values := range u.info.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: u.info.Username, UID: u.info.UID, Groups: u.info.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: "get", Group: flowsGroup, Resource: flowsResource, Version: "*",
		},
	}}
	answer, err := r.options.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask the API server what %s may see: %w", u.Name, err)
	}
	return answer.Status.Allowed && !answer.Status.Denied, nil
}
