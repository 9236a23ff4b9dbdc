// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"io/fs"
	"syscall"
	"time"
)

// file is what is in force of one manifest.
type file struct {
	path  string // relative to the directory
	stamp stamp
	// complete: once read without a broken part. Before that, objects holds
	// what could be read; after it, a broken file changes nothing at all, since
	// half of a change is no state that anybody wrote.
	complete bool
	objects  map[objectID]object
	problems []Problem
	// leaving: the file is gone, and this is when its objects will be. Until
	// then another file may take them over without a word.
	leaving time.Time
	// waiting: since when a writer holds the file open; zero: none does.
	waiting time.Time
}

// stamp tells one content of a file from another without reading it.
type stamp struct {
	device, inode     uint64
	size              int64
	modified, changed time.Time
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = st.Dev, st.Ino
		s.changed = time.Unix(st.Ctim.Unix())
	}
	return s
}

// fresh: so young when it was taken that the clock of the file system may have
// given a later write the same times.
func (s stamp) fresh(now time.Time) bool {
	return now.Sub(s.changed) < time.Second
}

const (
	keeps    = "; its last good version stays in force"
	nothing  = "; there is no earlier good version of it, so nothing is in force for it"
	keepsAll = "; what the file held before stays in force"
)

// take puts the outcome of reading the file in force as far as it is usable,
// and returns the objects that it held before or holds now.
func (f *file) take(m manifest) []objectID {
	before := f.objects
	next := make(map[objectID]object, len(m.objects))
	f.problems = nil
	keepAll := m.broken && f.complete
	if !keepAll {
		for _, o := range m.objects {
			next[o.id] = o
		}
	}
	if m.broken {
		for id, o := range before {
			if _, replaced := next[id]; !replaced || keepAll {
				next[id] = o
			}
		}
	}
	for _, u := range m.unusable {
		old, had := before[u.id]
		if had {
			next[u.id] = old
		}
		p := u.problem
		switch {
		case u.id == objectID{} && f.complete:
			p.Message += keepsAll
		case had:
			p.Message += keeps
		default:
			p.Message += nothing
			p.Blocking = true
		}
		f.problems = append(f.problems, p)
	}
	if !keepAll {
		f.problems = append(f.problems, m.notes...)
	}
	f.complete = f.complete || !m.broken
	f.objects = next
	return idsOf(before, next)
}

// unreadable leaves all as it was, with the reason.
func (f *file) unreadable(reason string) {
	p := Problem{Message: reason + keepsAll}
	if !f.complete {
		p.Message, p.Blocking = reason+nothing, true
	}
	f.problems = []Problem{p}
}

func idsOf(sets ...map[objectID]object) []objectID {
	var ids []objectID
	for i, set := range sets {
		for id := range set {
			if i > 0 {
				if _, listed := sets[i-1][id]; listed {
					continue
				}
			}
			ids = append(ids, id)
		}
	}
	return ids
}
