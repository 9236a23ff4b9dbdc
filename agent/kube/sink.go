// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// requestLimit is the time of one request.
const requestLimit = 10 * time.Second

// longestNote is what the API server takes, in bytes.
const longestNote = 1024

// sink writes events to the API server, and tells the log when that begins to
// fail and when it works again.
type sink struct {
	ctx    context.Context
	client typedv1.EventInterface
	log    *slog.Logger

	mu     sync.Mutex
	failed bool
}

var _ record.EventSink = (*sink)(nil)

// Create implements record.EventSink.
func (s *sink) Create(event *corev1.Event) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(s.ctx, requestLimit)
	defer cancel()
	if event.Reason == ReasonUnusable {
		event.Name = sharedName(event)
	}
	if len(event.Message) > longestNote {
		event.Message = strings.ToValidUTF8(event.Message[:longestNote-3], "") + "..."
	}
	out, err := s.client.CreateWithEventNamespaceWithContext(ctx, event)
	return out, s.note(err)
}

// sharedName is the same at every node: the first one to write the event is
// the one that does, the others learn that it is there.
func sharedName(event *corev1.Event) string {
	sum := sha256.Sum256([]byte(string(event.InvolvedObject.UID) + event.Reason + event.Message))
	return fmt.Sprintf("%s.%x", event.InvolvedObject.Name, sum[:8])
}

// Update implements record.EventSink; the library does not use it.
func (s *sink) Update(*corev1.Event) (*corev1.Event, error) {
	return nil, errors.New("events are created and patched, not updated")
}

// Patch implements record.EventSink.
func (s *sink) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(s.ctx, requestLimit)
	defer cancel()
	out, err := s.client.PatchWithEventNamespaceWithContext(ctx, event, data)
	if apierrors.IsNotFound(err) {
		return out, err // it has expired; the library creates it anew
	}
	return out, s.note(err)
}

func (s *sink) note(err error) error {
	harmless := apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || s.ctx.Err() != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && !harmless && !s.failed:
		s.failed = true
		s.log.Warn("Kubernetes events cannot be written; kubectl describe does not show denials until they can", "error", err)
	case err == nil && s.failed:
		s.failed = false
		s.log.Info("Kubernetes events are written again")
	}
	return err
}
