// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/version"
)

// errUnchainable: the runtime will use this file, and weir cannot join it.
var errUnchainable = errors.New("weir-cni cannot be chained to it")

// list is the text of a configuration list with the places of its plugins.
type list struct {
	raw     []byte
	plugins []element
}

// element is raw[start:end].
type element struct {
	start, end int
	kind       string // its "type"
}

// parseList reads the text as the runtime does.
func parseList(raw []byte) (*list, error) {
	conf, err := libcni.NetworkConfFromBytes(raw)
	if err != nil {
		return nil, err
	}
	for i, p := range conf.Plugins {
		if p.Network.Type == "" {
			return nil, fmt.Errorf("plugin %d has no type", i)
		}
	}
	l := &list{raw: raw}
	if l.plugins, err = elements(raw); err != nil {
		return nil, err
	}
	if len(l.plugins) == 0 {
		return nil, fmt.Errorf("%w: its plugins are in a folder of their own, not in the list", errUnchainable)
	}
	return l, checkVersion(conf.CNIVersion)
}

func checkVersion(v string) error {
	if slices.Contains(version.VersionsStartingFrom(OldestVersion).SupportedVersions(), v) {
		return nil
	}
	return fmt.Errorf("%w: its cniVersion is %q, and a chain needs %s to %s", errUnchainable, v, OldestVersion, version.Current())
}

// elements finds the places of the plugins in a valid list.
func elements(raw []byte) ([]element, error) {
	var found []element
	seen := false
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil { // {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		if key != "plugins" {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return nil, err
			}
			continue
		}
		if seen { // readers differ in which of the two counts
			return nil, errors.New(`"plugins" stands there twice`)
		}
		seen = true
		if found, err = items(d); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// items are the elements of the array that comes next.
func items(d *json.Decoder) ([]element, error) {
	if _, err := d.Token(); err != nil { // [
		return nil, err
	}
	var found []element
	for d.More() {
		var text json.RawMessage
		if err := d.Decode(&text); err != nil {
			return nil, err
		}
		var plugin struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(text, &plugin); err != nil {
			return nil, err
		}
		end := int(d.InputOffset())
		found = append(found, element{start: end - len(text), end: end, kind: plugin.Type})
	}
	_, err := d.Token() // ]
	return found, err
}

func (l *list) own() []int {
	var at []int
	for i, p := range l.plugins {
		if p.kind == PluginType {
			at = append(at, i)
		}
	}
	return at
}

// with is the text with the entry in it, once, behind another plugin. Nothing
// is changed if it says the same already.
func (l *list) with(entry []byte) ([]byte, error) {
	own := l.own()
	if len(own) == 1 && own[0] > 0 {
		p := l.plugins[own[0]]
		if sameJSON(l.raw[p.start:p.end], entry) {
			return l.raw, nil
		}
		return slices.Concat(l.raw[:p.start], entry, l.raw[p.end:]), nil
	}
	if len(own) == len(l.plugins) {
		return nil, fmt.Errorf("%w: it has no plugin that makes an interface", errUnchainable)
	}
	if len(own) > 0 {
		rest, err := parseList(l.without())
		if err != nil {
			return nil, err
		}
		return rest.with(entry)
	}
	end := l.plugins[len(l.plugins)-1].end
	return slices.Concat(l.raw[:end], []byte(separator), entry, l.raw[end:]), nil
}

// separator stands before the entry, and goes with it.
const separator = ",\n    "

// without is the text without any entry of weir: what it was before with.
func (l *list) without() []byte {
	text := l.raw
	for {
		plugins, err := elements(text)
		at := slices.IndexFunc(plugins, func(p element) bool { return p.kind == PluginType })
		if err != nil || at < 0 { // no error: the text was parsed before
			return text
		}
		start, end := plugins[at].start, plugins[at].end
		if at > 0 { // with the comma before it
			start = plugins[at-1].end
		} else if len(plugins) > 1 { // with the comma behind it
			end = plugins[1].start
		}
		text = slices.Concat(text[:start], text[end:])
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// listOf makes a list of a configuration of one plugin, as the runtime would.
func listOf(single, entry []byte) ([]byte, error) {
	conf, err := libcni.NetworkPluginConfFromBytes(single)
	if err != nil {
		return nil, err
	}
	if conf.Network.Type == "" {
		return nil, errors.New("no type: neither a plugin nor a list in a file named .conflist")
	}
	if err := checkVersion(conf.Network.CNIVersion); err != nil {
		return nil, err
	}
	out := struct {
		Name       string            `json:"name"`
		CNIVersion string            `json:"cniVersion"`
		Plugins    []json.RawMessage `json:"plugins"`
	}{conf.Network.Name, conf.Network.CNIVersion, []json.RawMessage{single, entry}}
	return json.MarshalIndent(out, "", "  ")
}
