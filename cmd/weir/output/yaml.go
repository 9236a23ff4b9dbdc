// SPDX-License-Identifier: Apache-2.0

package output

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// WriteYAML writes one message as a YAML document, with names and values as
// WriteJSON has them. YAML has no escape for text that it does not quote, so
// what a terminal acts on is written as Escape does, and does not read back.
func WriteYAML(to io.Writer, m proto.Message) error {
	var b strings.Builder
	if err := yamlDocument(&b, m); err != nil {
		return err
	}
	return flush(to, &b)
}

func yamlDocument(b *strings.Builder, m proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode as YAML: %w", err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	node, err := yamlNode(d)
	if err != nil {
		return fmt.Errorf("encode as YAML: %w", err)
	}
	b.WriteString("---\n")
	e := yaml.NewEncoder(b)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return fmt.Errorf("encode as YAML: %w", err)
	}
	return e.Close()
}

// yamlNode is the next JSON value. A map of Go would lose the order of fields.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if v == '[' {
			n.Kind = yaml.SequenceNode
		}
		for d.More() {
			if n.Kind == yaml.MappingNode {
				key, err := yamlNode(d)
				if err != nil {
					return nil, err
				}
				n.Content = append(n.Content, key)
			}
			value, err := yamlNode(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, value)
		}
		_, err := d.Token() // the closing bracket
		return n, err
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: Escape(v)}, nil
	}
	n := &yaml.Node{}
	if number, ok := token.(json.Number); ok {
		n.Kind, n.Value = yaml.ScalarNode, number.String()
		return n, nil
	}
	return n, n.Encode(token)
}
