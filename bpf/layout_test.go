// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// The Go types are generated from the BTF; this proves that the compiler of Go
// lays them out as the one of C did, on the architecture that runs the test.
func TestLayout(t *testing.T) {
	spec, err := LoadWeir()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		size uint32
		typ  reflect.Type
	}{
		{"endpoint", 20, reflect.TypeFor[WeirEndpoint]()},
		{"address", 16, reflect.TypeFor[WeirAddress]()},
		{"owner", 20, reflect.TypeFor[WeirOwner]()},
		{"peer", 24, reflect.TypeFor[WeirPeer]()},
		{"cidr_key", 20, reflect.TypeFor[WeirCidrKey]()},
		{"row_key", 12, reflect.TypeFor[WeirRowKey]()},
		{"row", 184, reflect.TypeFor[WeirRow]()},
		{"flow_key", 44, reflect.TypeFor[WeirFlowKey]()},
		{"flow", 64, reflect.TypeFor[WeirFlow]()},
		{"frag_key", 44, reflect.TypeFor[WeirFragKey]()},
		{"frag", 60, reflect.TypeFor[WeirFrag]()},
		{"caller", 24, reflect.TypeFor[WeirCaller]()},
		{"called", 20, reflect.TypeFor[WeirCalled]()},
		{"port_key", 4, reflect.TypeFor[WeirPortKey]()},
		{"traffic", 16, reflect.TypeFor[WeirTraffic]()},
		{"drop_key", 8, reflect.TypeFor[WeirDropKey]()},
		{"denial", 16, reflect.TypeFor[WeirDenial]()},
		{"denied", 52, reflect.TypeFor[WeirDenied]()},
		{"allowance", 16, reflect.TypeFor[WeirAllowance]()},
		{"ring_stats", 40, reflect.TypeFor[WeirRingStats]()},
		{"event", 104, reflect.TypeFor[WeirEvent]()},
	} {
		var c *btf.Struct
		if err := spec.Types.TypeByName(row.name, &c); err != nil {
			t.Errorf("struct %s in the object's BTF: %v", row.name, err)
			continue
		}
		if c.Size != row.size {
			t.Errorf("struct %s: %d bytes in C, want %d", row.name, c.Size, row.size)
		}
		compareStruct(t, row.name, c, row.typ)
	}
}

// compareStruct walks nested structs too. A field of C has the Go name that
// bpf2go gives it.
func compareStruct(t *testing.T, path string, c *btf.Struct, typ reflect.Type) {
	t.Helper()
	if uint32(typ.Size()) != c.Size {
		t.Errorf("%s: %d bytes in Go, %d in C", path, typ.Size(), c.Size)
	}
	var end uint32
	for _, member := range c.Members {
		name := path + "." + member.Name
		field, ok := typ.FieldByName(goName(member.Name))
		if !ok {
			t.Errorf("%s: not in Go", name)
			continue
		}
		size, err := btf.Sizeof(member.Type)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		offset := member.Offset.Bytes()
		if uint32(field.Offset) != offset || int(field.Type.Size()) != size {
			t.Errorf("%s: at %d with %d bytes in Go, at %d with %d in C", name, field.Offset, field.Type.Size(), offset, size)
		}
		if offset != end {
			t.Errorf("%s: begins at %d, %d bytes of padding without a name before it", name, offset, offset-end)
		}
		end = offset + uint32(size)
		compareNested(t, name, member.Type, field.Type)
	}
	if end != c.Size {
		t.Errorf("%s: %d bytes of padding without a name at the end", path, c.Size-end)
	}
}

func compareNested(t *testing.T, path string, c btf.Type, typ reflect.Type) {
	t.Helper()
	if array, ok := btf.UnderlyingType(c).(*btf.Array); ok {
		c, typ = array.Type, typ.Elem()
	}
	if nested, ok := btf.UnderlyingType(c).(*btf.Struct); ok {
		compareStruct(t, path, nested, typ)
	}
}

func goName(c string) string {
	var name strings.Builder
	for part := range strings.SplitSeq(c, "_") {
		name.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return name.String()
}
