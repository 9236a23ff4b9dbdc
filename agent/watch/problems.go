// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// report holds the present problems for readers, and tells the log what is new
// and what is gone.
type report struct {
	log  *slog.Logger
	now  func() time.Time
	what string // what a problem is in, e.g. "a manifest"

	mu      sync.Mutex
	current []Problem
	synced  bool
}

// set replaces the problems; those that were there keep their Since.
func (r *report) set(problems []Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	known := make(map[Problem]time.Time, len(r.current))
	for _, p := range r.current {
		known[p.identity()] = p.Since
	}
	for i, p := range problems {
		since, was := known[p.identity()]
		if !was {
			since = now
			r.tell("problem in "+r.what, p)
		}
		delete(known, p.identity())
		problems[i].Since = since
	}
	for _, p := range r.current {
		if _, gone := known[p.identity()]; gone {
			r.tell("problem in "+r.what+" is gone", p)
		}
	}
	slices.SortFunc(problems, compareProblems)
	r.current = problems
}

// identity is all but the time.
func (p Problem) identity() Problem {
	p.Since = time.Time{}
	return p
}

func compareProblems(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
		cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message))
}

func (r *report) tell(what string, p Problem) {
	level := slog.LevelWarn
	if p.Blocking {
		level = slog.LevelError
	}
	var at []any
	if p.File != "" {
		at = []any{"at", p.position()}
	}
	r.log.Log(context.Background(), level, what, append(at, "object", p.Object, "problem", p.Message)...)
}

func (r *report) sync() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.synced = true
}

func (r *report) problems() []Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.current)
}

func (r *report) health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.synced {
		return errors.New("the manifests have not been read yet")
	}
	var first Problem
	blocking := 0
	for _, p := range r.current {
		if p.Blocking {
			if blocking == 0 {
				first = p
			}
			blocking++
		}
	}
	switch blocking {
	case 0:
		return nil
	case 1:
		return errors.New(first.String())
	}
	return fmt.Errorf("%s (and %d more)", first, blocking-1)
}
