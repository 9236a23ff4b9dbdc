// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// document is one document of a file.
type document struct {
	text []byte // as it stands in the file
	line int    // of its first byte, from 1
	json []byte // nil: it is empty, or fault is set
	// fault: it is not YAML or JSON.
	fault error
	// doubt: it can be read, but not in one way alone (a key is there
	// twice). json is then one of the readings, good enough for a name.
	doubt error
}

var (
	// A marker of YAML at the start of a line. All line breaks that YAML
	// knows count: the parser stops at a marker and ignores the rest
	// silently, so a document behind one that is missed here would be lost.
	marker = regexp.MustCompile("(?:^|\r\n|[\n\r\u0085\u2028\u2029])(---|\\.\\.\\.)(?:[ \t\n\r\u0085\u2028\u2029]|$)")
	// Nothing but comments and directives.
	preamble = regexp.MustCompile("^(?:[ \t]*(?:#[^\n\r\u0085\u2028\u2029]*)?(?:[\n\r\u0085\u2028\u2029]|$)|%[^\n\r\u0085\u2028\u2029]*(?:[\n\r\u0085\u2028\u2029]|$))*$")
	lineIn   = regexp.MustCompile(`line (\d+)`)
)

// documents splits a file. The error says that nothing of it can be read.
func documents(name string, data []byte) ([]document, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the file is not UTF-8: save it as UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if strings.HasSuffix(name, ".json") {
		return jsonDocuments(data), nil
	}
	var out []document
	for _, part := range split(data) {
		d := part
		d.decodeYAML()
		if d.json != nil || d.fault != nil {
			out = append(out, d)
		}
	}
	return out, nil
}

// split cuts at the markers; each document keeps its own "---". Comments and
// directives before the first one belong to it.
func split(data []byte) []document {
	var out []document
	start := 0
	cut := func(end int) {
		if preamble.Match(data[start:end]) && bytes.HasPrefix(data[end:], []byte("---")) {
			return
		}
		out = append(out, document{text: data[start:end], line: 1 + bytes.Count(data[:start], []byte("\n"))})
		start = end
	}
	for from := 0; from < len(data); {
		m := marker.FindSubmatchIndex(data[from:])
		if m == nil {
			break
		}
		at, end := from+m[2], from+m[3]
		if at > start {
			cut(at)
		}
		if data[at] == '.' {
			start = end
		}
		from = end
	}
	if start < len(data) {
		cut(len(data))
	}
	return out
}

func (d *document) decodeYAML() {
	raw, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		lax, laxErr := yaml.YAMLToJSON(d.text)
		if laxErr != nil {
			d.fault = d.readable(laxErr)
			return
		}
		raw, d.doubt = lax, d.readable(err)
	}
	if !bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		d.json = raw
	}
}

// contentLine is the line of the first thing that is no comment and no marker.
func (d *document) contentLine() int {
	n := d.line
	for line := range bytes.Lines(d.text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && !bytes.Equal(line, []byte("---")) {
			break
		}
		n++
	}
	return n
}

// faultAt is an error with its place in the file.
type faultAt struct {
	line, column int
	message      string
}

func (e *faultAt) Error() string { return e.message }

// readable takes the parser's prefixes off and counts lines from the start of
// the file.
func (d *document) readable(err error) error {
	text := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:", "line 0: "} {
		text = strings.TrimSpace(strings.TrimPrefix(text, prefix))
	}
	at := &faultAt{line: d.line}
	text = lineIn.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(s, "line "))
		if n == 0 {
			return s
		}
		if at.line == d.line {
			at.line = d.line + n - 1
		}
		return fmt.Sprintf("line %d", d.line+n-1)
	})
	at.message = strings.TrimPrefix(text, fmt.Sprintf("line %d: ", at.line))
	return at
}

// jsonDocuments reads one JSON value after another.
func jsonDocuments(data []byte) []document {
	var out []document
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		start := int(dec.InputOffset())
		start += len(data[start:]) - len(bytes.TrimLeft(data[start:], " \t\r\n"))
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return out
		}
		d := document{line: 1 + bytes.Count(data[:start], []byte("\n"))}
		if err != nil {
			d.fault = jsonFault(data, err)
			return append(out, d)
		}
		d.text, d.json = raw, raw
		if !bytes.Equal(raw, []byte("null")) {
			out = append(out, d)
		}
	}
}

func jsonFault(data []byte, err error) error {
	offset := len(data)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = min(int(syntax.Offset), len(data))
	}
	before := data[:offset]
	at := &faultAt{line: 1 + bytes.Count(before, []byte("\n")), message: err.Error()}
	at.column = offset - (bytes.LastIndexByte(before, '\n') + 1)
	return at
}
