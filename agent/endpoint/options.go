// SPDX-License-Identifier: Apache-2.0

package endpoint

import "time"

// TrackerOptions configure a Tracker.
type TrackerOptions struct {
	// Local reports whether a pod runs on this node; nil: every pod does.
	Local func(node string) bool
	// Audit reports whether misses of policy pass in a namespace; nil: nowhere.
	Audit func(namespace string) bool
	// Forwards reports whether pods of a namespace may send what they did not
	// originate; nil: nowhere.
	Forwards func(namespace string) bool
	// UnreadyOpen: what is not ready passes (--unready=allow). What is closed
	// because of a contradiction never does.
	UnreadyOpen bool
	// Patience is how long a pod with an address may be without an interface
	// before a device that weir cannot see through is taken for the reason.
	Patience time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Defaults fills what is zero.
func (o *TrackerOptions) Defaults() {
	never := func(string) bool { return false }
	if o.Local == nil {
		o.Local = func(string) bool { return true }
	}
	if o.Audit == nil {
		o.Audit = never
	}
	if o.Forwards == nil {
		o.Forwards = never
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Validate has nothing to refuse: every value means something.
func (o *TrackerOptions) Validate() error { return nil }
