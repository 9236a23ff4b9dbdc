// SPDX-License-Identifier: Apache-2.0

package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// WriteJSON writes one message on one line. Names are those of weir.proto,
// fields without a value are left out, 64-bit integers are strings (as
// everywhere in the JSON form of protobuf).
func WriteJSON(to io.Writer, m proto.Message) error {
	var b strings.Builder
	if err := jsonLine(&b, m); err != nil {
		return err
	}
	if _, err := io.WriteString(to, b.String()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func jsonLine(b *strings.Builder, m proto.Message) error {
	loose, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	// protojson varies its spacing from build to build on purpose.
	var line bytes.Buffer
	if err := json.Compact(&line, loose); err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	// JSON itself only escapes below 0x20, yet a terminal also acts on U+009B
	// and on bidirectional overrides. Outside strings all is ASCII.
	for _, r := range line.String() {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}
	b.WriteByte('\n')
	return nil
}
