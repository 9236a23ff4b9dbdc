// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fieldPath is what a message about a field begins with, e.g.
// "spec.ingress[0].ports[1]: endPort 1 is below port 2".
var fieldPath = regexp.MustCompile(`^[A-Za-z][\w./-]*(?:\[\d+\][\w./-]*)*$`)

// pathOf is the field that a message names in front, or "".
func pathOf(message string) string {
	path, _, found := strings.Cut(message, ": ")
	if !found || !fieldPath.MatchString(path) {
		return ""
	}
	return path
}

// place is the line and column in the file of the field with this path, or of
// the innermost part of the path that is there. It parses the document a second
// time, since the decoder keeps no positions: only for faults.
func (d *document) place(path string) (line, column int) {
	var root yaml.Node
	if yaml.Unmarshal(d.text, &root) != nil || len(root.Content) == 0 {
		return d.line, 0
	}
	at := root.Content[0]
	line, column = at.Line, at.Column
	for path != "" {
		key, value, rest := step(at, path)
		if value == nil {
			break
		}
		at, path = value, rest
		line, column = key.Line, key.Column
	}
	return d.line + line - 1, column
}

// step finds the child of n that path begins with: the node to show, the node
// to go on from, and the rest of the path.
func step(n *yaml.Node, path string) (shown, value *yaml.Node, rest string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	path = strings.TrimPrefix(path, ".")
	switch n.Kind {
	case yaml.SequenceNode:
		number, rest, found := strings.Cut(strings.TrimPrefix(path, "["), "]")
		i, err := strconv.Atoi(number)
		if !found || err != nil || i < 0 || i >= len(n.Content) {
			return nil, nil, ""
		}
		return n.Content[i], n.Content[i], rest
	case yaml.MappingNode:
		// Keys of labels hold dots, so the path says not where a key ends.
		for i := 0; i+1 < len(n.Content); i += 2 {
			rest, found := strings.CutPrefix(path, n.Content[i].Value)
			if found && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				return n.Content[i], n.Content[i+1], rest
			}
		}
	}
	return nil, nil, ""
}
