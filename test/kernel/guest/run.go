// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"time"

	"github.com/weirnet/weir/test/kernel/plan"
)

// run runs a program to its end, or to its limit.
func run(p plan.Program, out io.Writer) plan.Outcome {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), p.Limit)
	defer cancel()
	command := exec.CommandContext(ctx, p.Path, p.Args...)
	command.Dir, command.Env = p.Dir, p.Env
	command.Stdout, command.Stderr = out, out
	command.WaitDelay = 5 * time.Second // a child that holds the output open
	err := command.Run()
	if late := ctx.Err(); late != nil {
		err = errors.Join(late, err)
	}
	outcome := plan.Outcome{Name: p.Name, Passed: err == nil, Took: time.Since(start)}
	if err != nil {
		outcome.Detail = err.Error()
	}
	return outcome
}
