// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// What another writer put there between the look and the exchange stays.
func TestReplaceKeepsTheOther(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "10-pods.conflist")
	must(t, os.WriteFile(path, []byte("theirs"), 0o600))
	if err := replace(path, []byte("what was read"), []byte("ours")); !errors.Is(err, errChanged) {
		t.Errorf("error %v, want errChanged", err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "theirs" {
		t.Errorf("there is %q, want theirs", raw)
	}
	must(t, replace(path, []byte("theirs"), []byte("ours")))
	entries, err := os.ReadDir(dir)
	must(t, err)
	if raw, _ := os.ReadFile(path); string(raw) != "ours" || len(entries) != 1 {
		t.Errorf("there is %q in %d files, want ours alone", raw, len(entries))
	}
}

// Where names cannot be exchanged, a change is still seen.
func TestOverwrite(t *testing.T) {
	dir := t.TempDir()
	path, temp := filepath.Join(dir, "a"), filepath.Join(dir, "temp")
	must(t, os.WriteFile(path, []byte("theirs"), 0o600))
	must(t, os.WriteFile(temp, []byte("ours"), 0o600))
	if err := overwrite(temp, path, []byte("what was read")); !errors.Is(err, errChanged) {
		t.Errorf("error %v, want errChanged", err)
	}
	must(t, overwrite(temp, path, []byte("theirs")))
	if raw, _ := os.ReadFile(path); string(raw) != "ours" {
		t.Errorf("there is %q, want ours", raw)
	}
}

// Two writers at once: another replaces the file by rename, as CNIs do, while
// weir enters and leaves. The last of its texts is there at the end.
func TestTwoWriters(t *testing.T) {
	const rounds = 300
	text := func(round int) []byte {
		return bytes.Replace([]byte(bridgeText), []byte(`"pods"`), []byte(strconv.Quote("pods"+strconv.Itoa(round))), 1)
	}
	n := newNode(t, map[string]string{"10-pods.conflist": string(text(0))})
	done := make(chan error)
	go func() {
		for round := 1; round <= rounds; round++ {
			fresh := filepath.Join(n.options.ConfDir, "fresh")
			err := errors.Join(os.WriteFile(fresh, text(round), 0o640), os.Rename(fresh, n.conf("10-pods.conflist")))
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	entered := 0
	for running := true; running; {
		select {
		case err := <-done:
			must(t, err)
			running = false
		default:
		}
		_, err := n.Install()
		if err == nil {
			entered++
		} else if !errors.Is(err, errChanged) {
			t.Fatal(err)
		}
	}
	if n.chain() != "bridge portmap weir-cni" || entered == 0 {
		t.Errorf("chain %q after %d rounds", n.chain(), entered)
	}
	must(t, n.Leave())
	if got := n.texts(); len(got) != 1 || got["10-pods.conflist"] != string(text(rounds)) {
		t.Errorf("the last text of the other is lost: %v", got)
	}
}
