// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	pb "github.com/weirnet/weir/api/v1"
)

// filterFlags are the flags that say which flows, in the order in which they
// were typed: --not speaks of the next one.
type filterFlags struct {
	given []given
	not   bool // --not was typed, and waits for its filter
}

// given is one filter flag as it was typed.
type given struct {
	flag   string
	not    bool
	values []string
}

// question is what filter flags ask for, as requests for flows hold it.
type question struct {
	filter           *pb.FlowFilter
	include, exclude []*pb.FlowFilter
}

func (f *filterFlags) register(flags *pflag.FlagSet) {
	not := flags.VarPF(notValue{f}, "not", "", "turns the next filter round: --not --port 53 leaves DNS out")
	not.NoOptDefVal = "true"
	for _, d := range filterDefinitions() {
		flag := flags.VarPF(&filterValue{flags: f, definition: d}, d.name, d.short, d.usage)
		flag.NoOptDefVal = d.bare
	}
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "drop-reason" {
			name = "reason"
		}
		return pflag.NormalizedName(name)
	})
}

// question reads the flags. Its error names every one that cannot be read.
func (f *filterFlags) question() (*question, error) {
	r := &reading{q: &question{filter: &pb.FlowFilter{}}, namespaces: map[side][]string{}}
	if f.not {
		r.errs = append(r.errs, errors.New("--not stands before the filter that it turns round, e.g. --not --port 53"))
	}
	definitions := map[string]definition{}
	for _, d := range filterDefinitions() {
		definitions[d.name] = d
	}
	for _, g := range f.given {
		if d := definitions[g.flag]; d.namespaces && !g.not {
			r.namespaces[d.side] = append(r.namespaces[d.side], g.values...)
		}
	}
	for _, g := range f.given {
		r.flag = g.flag
		into := r.q.filter
		if r.not = g.not; g.not {
			into = &pb.FlowFilter{}
			r.q.exclude = append(r.q.exclude, into)
		}
		definitions[g.flag].read(r, into, g.values)
	}
	r.narrow()
	return r.q, errors.Join(r.errs...)
}

// reading turns flags into filters.
type reading struct {
	q          *question
	flag       string // that is being read
	not        bool   // it is turned round
	namespaces map[side][]string
	// What the two places for either end are taken by.
	slots []string
	errs  []error
}

func (r *reading) wrong(err error) { r.errs = append(r.errs, fmt.Errorf("--%s: %w", r.flag, err)) }

// either is the filter of one end, whichever, for a kind of flags. A request
// has two places for such: a label and a Service may so stand at different
// ends, as in "who of app=web talks to the Service db".
func (r *reading) either(f *pb.FlowFilter, kind string) *pb.PeerFilter {
	if !r.not {
		at := slices.Index(r.slots, kind)
		if at < 0 {
			at = len(r.slots)
			r.slots = append(r.slots, kind)
		}
		switch at {
		case 0:
		case 1:
			if len(r.q.include) == 0 {
				r.q.include = []*pb.FlowFilter{{}}
			}
			f = r.q.include[0]
		default:
			r.wrong(fmt.Errorf("together with --%s and --%s it is not clear which of them stand at one end; say so with --from-%s or --to-%s",
				r.slots[0], r.slots[1], r.flag, r.flag))
			return &pb.PeerFilter{}
		}
	}
	if f.Either == nil {
		f.Either = &pb.PeerFilter{}
	}
	return f.Either
}

// narrow makes "-n shop -l app=web" mean pods of shop with that label, and not
// every flow between shop and some app=web elsewhere; and refuses what no flow
// can be.
func (r *reading) narrow() {
	for _, f := range append([]*pb.FlowFilter{r.q.filter}, r.q.include...) {
		if f.GetEither().GetLabels() != nil {
			f.Either.Namespaces = r.namespaces[anyEnd]
		}
		for _, end := range []struct {
			side side
			peer *pb.PeerFilter
		}{{fromEnd, f.GetSource()}, {toEnd, f.GetDestination()}} {
			p := end.peer
			if len(p.GetServices()) > 0 && len(p.GetPods())+len(p.GetLabels())+len(p.GetWorkloads()) > 0 {
				r.errs = append(r.errs, fmt.Errorf("--%sservice: a Service has neither labels nor workload and is no pod; leave out one of the two", end.side))
			}
		}
	}
}

// qualified puts a bare name into each namespace that was given for its side,
// or else by -n: "-n shop --pod web" means shop/web, and not every flow between
// shop and some web elsewhere.
func (r *reading) qualified(s side) func(string) ([]string, error) {
	namespaces := r.namespaces[s]
	if len(namespaces) == 0 {
		namespaces = r.namespaces[anyEnd]
	}
	return func(name string) ([]string, error) {
		namespace, rest, found := strings.Cut(name, "/")
		switch {
		case !found && name != "" && len(namespaces) == 0:
			return []string{name}, nil
		case !found && name != "":
			names := make([]string, len(namespaces))
			for i, namespace := range namespaces {
				names[i] = namespace + "/" + name
			}
			return names, nil
		case namespace == "" || rest == "" || strings.Contains(rest, "/"):
			return nil, fmt.Errorf("%q is neither NAME nor NAMESPACE/NAME", name)
		}
		return []string{name}, nil
	}
}

// collect reads the values of one flag; a value may stand for several.
func collect[T any](r *reading, texts []string, read func(string) ([]T, error)) []T {
	var values []T
	for _, text := range texts {
		value, err := read(text)
		if err != nil {
			r.wrong(err)
			continue
		}
		values = append(values, value...)
	}
	return values
}

func one[T any](parse func(string) (T, error)) func(string) ([]T, error) {
	return func(text string) ([]T, error) {
		value, err := parse(text)
		return []T{value}, err
	}
}

// filterValue is the value of one filter flag on the command line.
type filterValue struct {
	flags      *filterFlags
	definition definition
}

func (v *filterValue) String() string { return "" }
func (v *filterValue) Type() string   { return v.definition.arg }

// Set keeps the values with what --not said of them.
func (v *filterValue) Set(text string) error {
	values := []string{text}
	if !v.definition.whole {
		values = strings.Split(text, ",")
	}
	v.flags.given = append(v.flags.given, given{v.definition.name, v.flags.not, values})
	v.flags.not = false
	return nil
}

// notValue is the flag --not.
type notValue struct{ flags *filterFlags }

func (v notValue) String() string { return "" }
func (v notValue) Type() string   { return "bool" }

// IsBoolFlag tells the help not to show a value.
func (v notValue) IsBoolFlag() bool { return true }

func (v notValue) Set(text string) error {
	switch {
	case text != "true":
		return fmt.Errorf("%q: it takes no value", text)
	case v.flags.not:
		return errors.New("it was given twice for one filter")
	}
	v.flags.not = true
	return nil
}
