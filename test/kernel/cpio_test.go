// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// unpack reads an archive by the format's description alone.
func unpack(t *testing.T, archive []byte) []string {
	t.Helper()
	const fields = 13
	var entries []string
	for at := 0; ; {
		header := archive[at : at+6+8*fields]
		if string(header[:6]) != "070701" {
			t.Fatalf("magic %q at byte %d", header[:6], at)
		}
		var values [fields]uint32
		for i := range values {
			if _, err := fmt.Sscanf(string(header[6+8*i:14+8*i]), "%X", &values[i]); err != nil {
				t.Fatalf("field %d at byte %d: %v", i, at, err)
			}
		}
		size, nameSize := int(values[6]), int(values[11])
		name := string(archive[at+110 : at+110+nameSize-1])
		if archive[at+110+nameSize-1] != 0 {
			t.Fatalf("the name %q is not ended by zero", name)
		}
		start := at + (110+nameSize+3)/4*4
		if name == "TRAILER!!!" {
			return entries
		}
		entries = append(entries, fmt.Sprintf("%s %o %d:%d %q", name, values[1], values[9], values[10], archive[start:start+size]))
		at = start + (size+3)/4*4
	}
}

func TestCpio(t *testing.T) {
	var out bytes.Buffer
	c := newCpio(&out)
	c.device("dev/console", 5, 1)
	for n := range 5 { // every length of padding
		c.file(fmt.Sprintf("a/b/%s", "xxxxx"[:n+1]), []byte("12345"[:n]))
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`dev 40755 0:0 ""`, `dev/console 20600 5:1 ""`, `a 40755 0:0 ""`, `a/b 40755 0:0 ""`,
		`a/b/x 100755 0:0 ""`, `a/b/xx 100755 0:0 "1"`, `a/b/xxx 100755 0:0 "12"`, `a/b/xxxx 100755 0:0 "123"`, `a/b/xxxxx 100755 0:0 "1234"`,
	}
	if got := unpack(t, out.Bytes()); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("full")

func TestCpioTellsAFailedWrite(t *testing.T) {
	c := newCpio(full{})
	c.file("x", nil)
	if err := c.close(); !errors.Is(err, errFull) {
		t.Errorf("%v, want %v", err, errFull)
	}
}

// object is an ELF file with a section .modinfo and nothing else.
func object(lines ...string) []byte {
	names := "\x00.modinfo\x00.shstrtab\x00"
	var info []byte
	for _, line := range lines {
		info = append(append(info, line...), 0)
	}
	type section struct {
		Name, Type                uint32
		Flags, Addr, Offset, Size uint64
		Link, Info                uint32
		Align, EntrySize          uint64
	}
	const headerSize = 64
	header := struct {
		Ident                                      [16]byte
		Type, Machine                              uint16
		Version                                    uint32
		Entry, Programs, Sections                  uint64
		Flags                                      uint32
		Size, ProgramSize, ProgramCount            uint16
		SectionSize, SectionCount, SectionNameFrom uint16
	}{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: 1, Machine: 62, Version: 1,
		Sections: uint64(headerSize + len(info) + len(names)), Size: headerSize, SectionSize: 64, SectionCount: 3, SectionNameFrom: 2,
	}
	var out bytes.Buffer
	for _, part := range []any{
		header, info, []byte(names), section{},
		section{Name: 1, Type: 1, Offset: headerSize, Size: uint64(len(info)), Align: 1},
		section{Name: 10, Type: 3, Offset: uint64(headerSize + len(info)), Size: uint64(len(names)), Align: 1},
	} {
		// A buffer takes everything, and the parts have fixed sizes.
		_ = binary.Write(&out, binary.LittleEndian, part)
	}
	return out.Bytes()
}
