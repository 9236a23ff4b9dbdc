// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"
)

// tape is a source of chance that the fuzzer writes: a small change of it is,
// mostly, a small change of the history. Behind its end it goes on by itself.
type tape struct {
	bytes []byte
	after *rand.PCG
}

func (t *tape) Uint64() uint64 {
	if len(t.bytes) < 8 {
		return t.after.Uint64()
	}
	n := binary.LittleEndian.Uint64(t.bytes)
	t.bytes = t.bytes[8:]
	return n
}

// FuzzHistories compares the oracle with the interpreter, and where there is
// root with the programs, on states and histories of the fuzzer's making. To
// look on for longer: go test -fuzz FuzzHistories ./test/scenario
func FuzzHistories(f *testing.F) {
	var programs func() (Engine, error)
	if os.Geteuid() == 0 {
		m := machine(f)
		programs = func() (Engine, error) { return NewPrograms(m) }
	}
	noise := rand.NewChaCha8([32]byte{1})
	for i := range 20 {
		bytes := make([]byte, 200*i)
		_, _ = noise.Read(bytes) // never fails
		f.Add(bytes)
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		c := chance{rand.New(&tape{bytes, rand.NewPCG(uint64(len(bytes)), 0)})}
		statements := c.statements()
		r := run{programs: programs}
		found := r.differ(statements)
		if found == nil {
			return
		}
		r.only = &found.probe
		statements = shrink(statements, func(part []string) bool { return r.differ(part) != nil })
		if smaller := r.differ(statements); smaller != nil {
			found = smaller
		}
		t.Fatalf("%s\n%s", found.text, asText(statements))
	})
}
