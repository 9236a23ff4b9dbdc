// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"net"

	"github.com/weirnet/weir/api/server"
)

// doors are where others reach the agent.
type doors struct {
	socket net.Listener
	// nil: not asked for
	http, viewers net.Listener
}

// openDoors opens all of them, or none.
func openDoors(o Options) (d doors, err error) {
	if d.socket, err = server.Listen(o.Socket); err != nil {
		return d, err
	}
	if o.Metrics != "" {
		if d.http, err = net.Listen("tcp", o.Metrics); err != nil {
			return d, errors.Join(fmt.Errorf("--metrics-address: %w", err), d.close())
		}
	}
	if o.Viewers != "" {
		if d.viewers, err = server.ListenLoopback(o.Viewers); err != nil {
			return d, errors.Join(fmt.Errorf("--viewer-address: %w", err), d.close())
		}
	}
	return d, nil
}

func (d doors) close() error {
	var errs []error
	for _, l := range []net.Listener{d.socket, d.http, d.viewers} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}
