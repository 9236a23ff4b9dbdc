// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/weirnet/weir/test/bench/record"
)

// results of all benchmarks that were run; the others are empty.
type results struct {
	packets, spread []record.Packet
	traffic         []record.Traffic
	control         []record.Control
	change          []record.Change
	runs            map[string]record.Run
}

func load(dir string) (results, error) {
	var r results
	err := errors.Join(
		read(dir, record.PacketsFile, &r.packets), read(dir, record.SpreadFile, &r.spread),
		read(dir, record.TrafficFile, &r.traffic), read(dir, record.ControlFile, &r.control), read(dir, record.ChangeFile, &r.change),
		read(dir, record.RunsFile, &r.runs))
	if err == nil && len(r.runs) == 0 {
		err = fmt.Errorf("no results in %s: run make bench-packets, bench-traffic, bench-control or bench-change first", dir)
	}
	return r, err
}

// read leaves into as it is, if there is no such file.
func read[T any](dir, name string, into *T) error {
	content, err := record.Load[T](dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	*into = content
	return err
}

// distinct values in the order in which they come.
func distinct[T any, K comparable](list []T, key func(T) K) []K {
	var keys []K
	seen := map[K]bool{}
	for _, item := range list {
		if k := key(item); !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	return keys
}
