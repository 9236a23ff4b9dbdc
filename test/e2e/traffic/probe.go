// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"errors"
	"net"
	"sync"
)

// Result of one call.
type Result struct {
	Answered bool
	Silent   bool   // no answer of any kind until AnswerLimit
	Problem  string // anything else, such as a refusal
}

// Probe calls all targets once and at the same time.
func Probe(targets []Target) []Result {
	results := make([]Result, len(targets))
	var wait sync.WaitGroup
	for i, t := range targets {
		wait.Go(func() {
			switch err := once(t); {
			case err == nil:
				results[i].Answered = true
			case isTimeout(err):
				results[i].Silent = true
			default:
				results[i].Problem = err.Error()
			}
		})
	}
	wait.Wait()
	return results
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
