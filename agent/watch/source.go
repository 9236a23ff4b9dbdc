// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weirnet/weir/policy"
)

// Source is a back end.
type Source interface {
	// Run sends batches until ctx ends or the source fails for good, then
	// closes out. The first batch holds everything and is Synced. Run may be
	// called once.
	Run(ctx context.Context, out chan<- policy.Batch) error
	// Problems are those of now, sorted by file, line and object.
	Problems() []Problem
	// Health is nil if all that the source holds is in force as it stands
	// there. Else it says why the agent must not call itself ready.
	Health() error
}

// Problem is a fault in what a source holds.
type Problem struct {
	File   string // relative to the directory; empty for the source as a whole
	Line   int    // from 1; 0: unknown
	Column int    // from 1; 0: unknown
	Object string // e.g. "NetworkPolicy shop/web"; empty: unknown
	// Message says what is wrong and what to do.
	Message string
	// Blocking: something is not enforced because of it, since no earlier
	// good version of the object is there to stay in force.
	Blocking bool
	Since    time.Time
}

// String is the problem in one line: file:line:column: object: message.
func (p Problem) String() string {
	var parts []string
	if p.File != "" {
		parts = append(parts, p.position())
	}
	if p.Object != "" {
		parts = append(parts, p.Object)
	}
	return strings.Join(append(parts, p.Message), ": ")
}

func (p Problem) position() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}
