// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Result of one call.
type Result struct {
	Answered bool
	Silent   bool   // no answer of any kind until AnswerLimit
	Problem  string // anything else, such as a refusal
}

// Probe calls all targets once and at the same time. A connection that is made
// is an answer: the target may be no server of ours, which would echo.
func Probe(targets []Target) []Result {
	results := make([]Result, len(targets))
	var wait sync.WaitGroup
	for i, t := range targets {
		wait.Go(func() {
			switch err := reach(t); {
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

func reach(t Target) error {
	if t.Kind == Datagram {
		return once(t)
	}
	conn, err := dial(t, time.Now().Add(AnswerLimit))
	if err != nil {
		return err
	}
	return conn.Close()
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
