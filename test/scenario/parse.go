// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirnet/weir/policy"
)

// Parse reads a file of scenarios; its form is in the package's comment. It
// reports every faulty line as "name:line: fault".
func Parse(name string, text string) ([]Scenario, error) {
	p := &parser{name: name, lines: strings.Split(text, "\n"), complete: true}
	return p.parse()
}

func (p *parser) parse() ([]Scenario, error) {
	for p.next() {
		if err := p.statement(p.text); err != nil {
			p.fail(err)
		}
	}
	p.end()
	if len(p.scenarios) == 0 && len(p.errs) == 0 {
		p.errs = append(p.errs, fmt.Errorf("%s:1: no scenario: begin with scenario \"TITLE\"", p.name))
	}
	return p.scenarios, errors.Join(p.errs...)
}

type parser struct {
	name  string
	lines []string
	line  int    // from 1
	text  string // of the line, without comment
	errs  []error
	// complete: the last change needs a row.
	complete bool

	scenarios []Scenario
	current   *Scenario
	world     *World // as of the present line
	hosts     map[string][]netip.Addr
	given     map[string]int // automatic addresses by node
	rows      int            // of the scenario
	touched   map[string]bool
}

func (p *parser) fail(err error) {
	p.errs = append(p.errs, fmt.Errorf("%s: %w", p.place(), err))
}

func (p *parser) place() string { return fmt.Sprintf("%s:%d", p.name, p.line) }

// next goes to the next line that is not empty.
func (p *parser) next() bool {
	for p.line < len(p.lines) {
		p.line++
		if p.text = strings.TrimSpace(withoutComment(p.lines[p.line-1])); p.text != "" {
			return true
		}
	}
	return false
}

// withoutComment leaves the # of shop/web#0 alone: it begins no word.
func withoutComment(line string) string {
	for i, r := range line {
		if r == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

func (p *parser) statement(text string) error {
	word, rest, _ := strings.Cut(text, " ")
	if word == "scenario" {
		return p.begin(rest)
	}
	if p.current == nil {
		return fmt.Errorf("%q before the first scenario \"TITLE\"", word)
	}
	switch {
	case word == "change:":
		return p.changes(rest)
	case word == "ipv4:" || word == "ipv6:" || strings.Contains(text, " -> "):
		return p.row(text)
	case word == "host":
		return p.host(strings.Fields(rest))
	}
	if len(p.current.Steps) > 1 || p.rows > 0 {
		return fmt.Errorf("%s behind a row: write it in front of all rows, or behind the word change", word)
	}
	return p.change(text)
}

func (p *parser) begin(rest string) error {
	p.end()
	title, err := strconv.Unquote(strings.TrimSpace(rest))
	if err != nil || title == "" {
		title = rest
		err = fmt.Errorf("scenario %s: want a title in double quotes", rest)
	}
	p.current = &Scenario{Title: title, File: p.name, Line: p.line, Steps: []Step{{Line: p.line}}}
	p.world, p.hosts, p.given, p.rows, p.touched = NewWorld(), map[string][]netip.Addr{}, map[string]int{}, 0, map[string]bool{}
	return err
}

func (p *parser) end() {
	if p.current == nil {
		return
	}
	last := p.current.Steps[len(p.current.Steps)-1]
	if p.complete && len(last.Cases) == 0 && len(p.errs) == 0 {
		p.errs = append(p.errs, fmt.Errorf("%s:%d: no row behind the last change of %q: nothing would be tested", p.name, last.Line, p.current.Title))
	}
	p.scenarios = append(p.scenarios, *p.current)
	p.current = nil
}

// changes reads one batch.
func (p *parser) changes(text string) error {
	p.current.Steps = append(p.current.Steps, Step{Line: p.line})
	p.touched = map[string]bool{}
	for _, part := range strings.Split(text, ";") {
		if err := p.change(strings.TrimSpace(part)); err != nil {
			return err
		}
	}
	return nil
}

// change reads one statement for objects, and applies it.
func (p *parser) change(text string) error {
	words := strings.Fields(text)
	if len(words) < 2 {
		return fmt.Errorf("%q: want a statement with an object", text)
	}
	b, err := p.batch(words)
	if err != nil {
		return fmt.Errorf("%s: %w", words[0], err)
	}
	for _, name := range names(b) {
		if p.touched[name] {
			return fmt.Errorf("%s stands twice in one batch", name)
		}
		p.touched[name] = true
	}
	p.world.Apply(b)
	step := &p.current.Steps[len(p.current.Steps)-1]
	step.Batch = join(step.Batch, b)
	return nil
}

func (p *parser) batch(words []string) (policy.Batch, error) {
	switch words[0] {
	case "policy", "pod":
		if words[1] == "<<" {
			return p.block(words[0])
		}
		if words[0] == "policy" {
			return policy.Batch{}, errors.New("want policy <<")
		}
		pod, err := p.pod(words[1:])
		return policy.Batch{Pods: []*policy.Pod{pod}}, err
	case "namespace":
		return p.namespace(words[1], words[2:], nil)
	case "service":
		return p.service(words[1:])
	case "delete", "relabel", "move", "end":
		if len(words) < 3 {
			return policy.Batch{}, errors.New("want a kind and a name")
		}
		return p.alter(words[0], words[1], words[2], words[3:])
	}
	return policy.Batch{}, errors.New("not a statement: want scenario, namespace, pod, host, service, policy <<, change:, or a row with ->")
}

// block reads up to a line >>.
func (p *parser) block(kind string) (policy.Batch, error) {
	begin := p.line
	for p.line++; p.line <= len(p.lines); p.line++ {
		if strings.TrimSpace(p.lines[p.line-1]) != ">>" {
			continue
		}
		text := strings.Join(p.lines[begin:p.line-1], "\n")
		if kind == "pod" {
			pods, err := readPods(text)
			return policy.Batch{Pods: pods}, err
		}
		policies, err := readPolicies(text)
		return policy.Batch{Policies: policies}, err
	}
	p.line = begin
	return policy.Batch{}, errors.New("the block has no end: want a line >>")
}

func join(a, b policy.Batch) policy.Batch {
	a.Namespaces = append(a.Namespaces, b.Namespaces...)
	a.DeletedNamespaces = append(a.DeletedNamespaces, b.DeletedNamespaces...)
	a.Pods = append(a.Pods, b.Pods...)
	a.DeletedPods = append(a.DeletedPods, b.DeletedPods...)
	a.Policies = append(a.Policies, b.Policies...)
	a.DeletedPolicies = append(a.DeletedPolicies, b.DeletedPolicies...)
	a.Services = append(a.Services, b.Services...)
	a.DeletedServices = append(a.DeletedServices, b.DeletedServices...)
	return a
}

// names of the objects of a batch, by kind.
func names(b policy.Batch) []string {
	var out []string
	for _, n := range b.Namespaces {
		out = append(out, "namespace "+n.Name)
	}
	for _, n := range b.DeletedNamespaces {
		out = append(out, "namespace "+n)
	}
	for _, o := range b.Pods {
		out = append(out, "pod "+o.String())
	}
	for _, k := range b.DeletedPods {
		out = append(out, "pod "+k.String())
	}
	for _, o := range b.Policies {
		out = append(out, "policy "+o.String())
	}
	for _, k := range b.DeletedPolicies {
		out = append(out, "policy "+k.String())
	}
	for _, o := range b.Services {
		out = append(out, "service "+o.String())
	}
	for _, k := range b.DeletedServices {
		out = append(out, "service "+k.String())
	}
	return out
}
