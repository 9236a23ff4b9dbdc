// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	account  = "weir-viewer"
	audience = "weir.dev"
	// lifetime is the shortest that the API server gives.
	lifetime = 10 * time.Minute
)

// ErrNoViewer is wrapped where the API server gives the user no token.
var ErrNoViewer = errors.New("you may not view flows")

// token is that of a viewer, made anew before it ends.
type token struct {
	client     kubernetes.Interface
	namespaces []string
	now        func() time.Time

	mu    sync.Mutex
	value string
	renew time.Time
}

func newToken(client kubernetes.Interface, namespaces []string) *token {
	var once []string
	for _, n := range namespaces {
		if n != "" && !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return &token{client: client, namespaces: once, now: time.Now}
}

// get wraps ErrNoViewer.
func (t *token) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value != "" && t.now().Before(t.renew) {
		return t.value, nil
	}
	var refusals []string
	for _, namespace := range t.namespaces {
		err := t.create(ctx, namespace)
		if err == nil {
			return t.value, nil
		}
		if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("ask for a token of %s/%s: %w", namespace, account, err)
		}
		refusals = append(refusals, err.Error())
	}
	return "", fmt.Errorf("%w: no token of the ServiceAccount %s is to be had in %s (%s); you need create on serviceaccounts/token for it, and weir viewers.enabled, with the namespace in viewers.namespaces unless it is weir's own",
		ErrNoViewer, account, strings.Join(t.namespaces, " or "), strings.Join(refusals, "; "))
}

func (t *token) create(ctx context.Context, namespace string) error {
	seconds := int64(lifetime / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}}
	asked := t.now()
	answer, err := t.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	// By this machine's clock alone: it may be another than the server's.
	t.value, t.renew = answer.Status.Token, asked.Add(lifetime*4/5)
	return nil
}

// forget what the agent did not take.
func (t *token) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value = ""
}
