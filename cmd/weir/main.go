// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second interrupt ends the process even if the first is not heeded.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, process{
		name:     os.Args[0],
		in:       os.Stdin,
		out:      os.Stdout,
		err:      os.Stderr,
		getenv:   os.Getenv,
		now:      time.Now,
		location: time.Local,
		terminal: isTerminal(os.Stdout),
		size:     terminalSize,
	}, os.Args[1:]))
}

// terminalSize is 0, 0 where the output is no terminal that tells.
func terminalSize() (columns, lines int) {
	columns, lines, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, lines
}

// isTerminal takes any character device for one: colour sent to /dev/null
// harms nobody, and pipes and files are not character devices.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
