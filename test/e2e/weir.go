// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const commandLimit = 30 * time.Second

// Weir is the command weir as somebody runs it outside the cluster.
type Weir struct {
	Program    string // its path
	Kubeconfig string // a file, whose user he is
}

// Said is what a command wrote, and how it ended.
type Said struct {
	Out, Err string
	Code     int
}

// Run the command. An exit code is no error; a command that cannot be run is.
func (w Weir) Run(ctx context.Context, args ...string) (Said, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	command := exec.CommandContext(ctx, w.Program, append([]string{"--kubeconfig=" + w.Kubeconfig}, args...)...)
	command.Env = append(os.Environ(), "WEIR_SOCKET=", "NO_COLOR=1")
	var out, problem bytes.Buffer
	command.Stdout, command.Stderr = &out, &problem
	err := command.Run()
	said := Said{Out: out.String(), Err: problem.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		said.Code, err = exit.ExitCode(), nil
	}
	if err != nil {
		return said, fmt.Errorf("weir %s: %w: %s", strings.Join(args, " "), err, said.Err)
	}
	return said, nil
}

// Flow as weir writes it in JSON: what the tests look at.
type Flow struct {
	Time                time.Time
	Node, Verdict       string
	Source, Destination End
	Service             End
	Rule                struct{ Policy ObjectName }
	Isolating           []ObjectName
	NearestMiss         struct{ Rule struct{ Policy ObjectName } } `json:"nearest_miss"`
}

// End of a flow.
type End struct {
	ObjectName
	IP       string
	Labels   map[string]string
	Workload *struct{ Name string }
}

// ObjectName of a pod, Service or policy.
type ObjectName struct{ Namespace, Name string }

// Flows of the command's output in the form jsonl.
func (s Said) Flows() ([]Flow, error) {
	var list []Flow
	for line := range strings.Lines(s.Out) {
		var f Flow
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return nil, fmt.Errorf("flow %q: %w", line, err)
		}
		list = append(list, f)
	}
	return list, nil
}

// touches a namespace with either end; of a flow to a Service, also before
// translation.
func (f Flow) touches(namespace string) bool {
	return f.Source.Namespace == namespace || f.Destination.Namespace == namespace || f.Service.Namespace == namespace
}

// within a namespace with both ends.
func (f Flow) within(namespace string) bool {
	return f.Source.Namespace == namespace && f.Destination.Namespace == namespace
}

// between two namespaces.
func (f Flow) between(a, b string) bool {
	return f.Source.Namespace == a && f.Destination.Namespace == b || f.Source.Namespace == b && f.Destination.Namespace == a
}

// policies that the flow names.
func (f Flow) policies() []ObjectName {
	return append([]ObjectName{f.Rule.Policy, f.NearestMiss.Rule.Policy}, f.Isolating...)
}
