// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weirnet/weir/test/cluster/layout"
	"github.com/weirnet/weir/test/cluster/process"
)

// Status of a cluster, as its state folder and the processes tell.
type Status struct {
	Settings  layout.Settings
	Processes []process.Record // as recorded; Running says more
}

// Whole says whether every process of the cluster runs.
func (s Status) Whole() bool {
	running := 0
	for _, p := range s.Processes {
		if p.Running() {
			running++
		}
	}
	return running == s.Settings.Nodes+1
}

// Inspect a state folder; fs.ErrNotExist if no cluster was started there.
func Inspect(state string) (Status, error) {
	status := Status{Settings: layout.Settings{State: state}}
	raw, err := os.ReadFile(status.Settings.File())
	if err != nil {
		return status, err
	}
	if err := json.Unmarshal(raw, &status.Settings); err != nil {
		return status, fmt.Errorf("read %s: %w", status.Settings.File(), err)
	}
	status.Processes, err = process.Folder(status.Settings.Processes()).All()
	return status, err
}

// dead is an error for a process that was started and is gone, with the end of
// its log.
func dead(s layout.Settings) error {
	records, err := process.Folder(s.Processes()).All()
	if err != nil {
		return err
	}
	for _, r := range records {
		if !r.Running() {
			return fmt.Errorf("process %s has ended; the end of %s:\n%s", r.Name, s.Log(r.Name), tail(s.Log(r.Name)))
		}
	}
	return nil
}

const tailBytes = 2000

func tail(file string) []byte {
	raw, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(raw[max(0, len(raw)-tailBytes):])
}
