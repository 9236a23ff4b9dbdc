// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
)

// remarkEvery bounds how often rules are compared with all pods while objects
// change.
const remarkEvery = 5 * time.Second

// remarks are what of the rules means nothing now, by rule.
type remarks map[policy.RuleRef][]string

func remarksOf(list []resolve.Remark) remarks {
	out := remarks{}
	for _, r := range list {
		out[r.Rule] = append(out[r.Rule], r.Text)
	}
	return out
}

// without returns what is not in others.
func (r remarks) without(others remarks) remarks {
	out := remarks{}
	for ref, texts := range r {
		for _, text := range texts {
			if !slices.Contains(others[ref], text) {
				out[ref] = append(out[ref], text)
			}
		}
	}
	return out
}

func (r remarks) rules() []policy.RuleRef {
	return slices.SortedFunc(maps.Keys(r), policy.RuleRef.Compare)
}

// fault names the first of them; nil if there is none.
func (r remarks) fault() error {
	var errs []error
	for i, ref := range r.rules() {
		if i == 5 {
			errs = append(errs, fmt.Errorf("and %d more rules: `weir policy list` counts them", len(r)-i))
			break
		}
		for _, text := range r[ref] {
			errs = append(errs, fmt.Errorf("%s: %s", ref, text))
		}
	}
	return errors.Join(errs...)
}

// remark looks whether the rules mean something, once objects have changed. It
// waits for the first full lists: before, every name would be unknown.
func (c *controller) remark(now time.Time) {
	if !c.synced || !c.changed || now.Sub(c.remarked) < remarkEvery {
		return
	}
	c.changed, c.remarked = false, now
	is := remarksOf(c.engine.Remarks())
	was := c.dir.setRemarks(is)
	fresh, gone := is.without(was), was.without(is)
	for _, ref := range fresh.rules() {
		for _, text := range fresh[ref] {
			c.log.Warn("a part of a rule matches nothing", "rule", ref.String(), "why", text)
		}
	}
	for _, ref := range gone.rules() {
		for _, text := range gone[ref] {
			c.log.Info("a part of a rule matches nothing: no longer so", "rule", ref.String(), "was", text)
		}
	}
	c.notices.meaningless(fresh)
	c.state.set(conditionRules, false, is.fault(), len(is))
}

// setRemarks returns those before.
func (d *directory) setRemarks(r remarks) remarks {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.remarks
	d.remarks = r
	return was
}
