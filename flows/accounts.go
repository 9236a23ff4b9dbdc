// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"maps"
	"sync"

	"github.com/weirnet/weir/policy"
)

// RuleAccount counts what a rule decided, both directions.
type RuleAccount struct {
	Flows, Packets, Bytes uint64
}

// Accounts is the Ledger of an agent: counts since it was made. Its methods may
// be called by several goroutines.
type Accounts struct {
	mu      sync.Mutex
	rules   map[policy.RuleRef]RuleAccount
	denials map[policy.ObjectKey]uint64
}

// NewAccounts makes an empty ledger.
func NewAccounts() *Accounts {
	return &Accounts{rules: map[policy.RuleRef]RuleAccount{}, denials: map[policy.ObjectKey]uint64{}}
}

// Passed implements Ledger.
func (a *Accounts) Passed(rule policy.RuleRef, began bool, packets, bytes uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	account := a.rules[rule]
	if began {
		account.Flows++
	}
	account.Packets += packets
	account.Bytes += bytes
	a.rules[rule] = account
}

// Denied implements Ledger.
func (a *Accounts) Denied(isolating []policy.ObjectKey, packets uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, key := range isolating {
		a.denials[key] += packets
	}
}

// Retain forgets the counts of rules and policies that are gone: of one that
// comes again they begin anew.
func (a *Accounts) Retain(rule func(policy.RuleRef) bool, isolates func(policy.ObjectKey) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.rules, func(ref policy.RuleRef, _ RuleAccount) bool { return !rule(ref) })
	maps.DeleteFunc(a.denials, func(key policy.ObjectKey, _ uint64) bool { return !isolates(key) })
}

// Counts are copies.
func (a *Accounts) Counts() (map[policy.RuleRef]RuleAccount, map[policy.ObjectKey]uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.rules), maps.Clone(a.denials)
}
