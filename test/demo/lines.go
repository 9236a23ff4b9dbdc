// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// lines collects what a process prints.
type lines struct {
	mu   sync.Mutex
	all  []string
	news chan struct{} // closed and replaced at each line
}

func collect(from io.Reader) *lines {
	l := &lines{news: make(chan struct{})}
	go func() {
		scanner := bufio.NewScanner(from)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			l.mu.Lock()
			l.all = append(l.all, scanner.Text())
			close(l.news)
			l.news = make(chan struct{})
			l.mu.Unlock()
		}
	}()
	return l
}

// mark is the position of the next line.
func (l *lines) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// await returns the first line at or after mark that holds all parts.
func (l *lines) await(ctx context.Context, mark int, limit time.Duration, parts ...string) (string, bool) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		l.mu.Lock()
		for _, line := range l.all[min(mark, len(l.all)):] {
			if holds(line, parts) {
				l.mu.Unlock()
				return line, true
			}
		}
		news := l.news
		l.mu.Unlock()
		select {
		case <-news:
		case <-timeout.C:
			return "", false
		case <-ctx.Done():
			return "", false
		}
	}
}

func holds(line string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(line, p) {
			return false
		}
	}
	return true
}

func title(text string) { fmt.Printf("\n== %s\n", text) }

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}
