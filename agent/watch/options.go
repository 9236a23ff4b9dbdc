// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"fmt"
	"time"
)

// DirectoryOptions configure a Directory.
type DirectoryOptions struct {
	// Path of the directory of manifests.
	Path string
	// StateDir keeps the last good version of each object; it is made if it
	// is not there, and may be shared by several directories. Empty: a fault
	// that is there when the agent starts finds no earlier version.
	StateDir string
	// Quiet is how long nothing must happen before what happened is read, so
	// that files renamed in one burst become one Batch. It is a part of the
	// time from a rename to the new verdict.
	Quiet time.Duration
	// Burst bounds that wait while changes go on.
	Burst time.Duration
	// Absence is how long a file must be gone before its objects are. Editors
	// that move the old file away before they write the new one leave a gap,
	// in which a policy would not hold.
	Absence time.Duration
	// Rescan is how often the whole directory is compared, for what the
	// kernel gives no notice of: targets of links elsewhere, network file
	// systems.
	Rescan time.Duration
	// Now is the clock of Problem.Since; nil is time.Now.
	Now func() time.Time
}

// Defaults fills what is zero, except the paths.
func (o *DirectoryOptions) Defaults() {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&o.Quiet, 500*time.Microsecond)
	set(&o.Burst, 20*time.Millisecond)
	set(&o.Absence, 20*time.Millisecond)
	set(&o.Rescan, 10*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Validate says what is wrong, all at once.
func (o *DirectoryOptions) Validate() error {
	var errs []error
	if o.Path == "" {
		errs = append(errs, errors.New("no directory of manifests is named"))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"quiet", o.Quiet}, {"burst", o.Burst}, {"absence", o.Absence}, {"rescan", o.Rescan}} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s time %s is not above zero", d.name, d.value))
		}
	}
	if o.Burst < o.Quiet {
		errs = append(errs, fmt.Errorf("burst time %s is below quiet time %s", o.Burst, o.Quiet))
	}
	return errors.Join(errs...)
}
