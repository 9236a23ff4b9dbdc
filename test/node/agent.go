// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// Agent is a weir-agent in a node's namespace, with its folder: manifests,
// state, socket. It may be killed and started again.
type Agent struct {
	Bin  string // folder of weir-agent and weir
	Dir  string // of this node: manifests/, state/, agent.sock, weir.yaml
	Pins string
	Name string // of the node, as in spec.nodeName
	Node *netns.Node
	Args []string // more flags
	// Kubeconfig leads to the source of objects; empty: the folder manifests is.
	Kubeconfig string
	// Output gets the agent's log.
	Output io.Writer

	process *exec.Cmd
}

// NewAgent prepares the folder; nothing runs yet.
func NewAgent(bin, dir, name string, node *netns.Node) (*Agent, error) {
	a := &Agent{Bin: bin, Dir: dir, Name: name, Node: node, Pins: "/sys/fs/bpf/" + filepath.Base(dir), Output: os.Stderr}
	if err := os.MkdirAll(filepath.Join(dir, "manifests"), 0o755); err != nil {
		return nil, err
	}
	return a, a.Replace("weir.yaml", "")
}

// Replace writes a file of the agent's folder as an editor or a tool should:
// whole, by rename.
func (a *Agent) Replace(name, content string) error {
	path := filepath.Join(a.Dir, name)
	temporary := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	if err := os.WriteFile(temporary, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// command of weir-agent on this node.
func (a *Agent) command(args ...string) *exec.Cmd {
	args = append(args,
		"--config="+filepath.Join(a.Dir, "weir.yaml"),
		"--node="+a.Name,
		a.source(),
		"--state-dir="+filepath.Join(a.Dir, "state"),
		"--pin-dir="+a.Pins,
		"--socket="+a.Socket(),
	)
	return exec.Command(filepath.Join(a.Bin, "weir-agent"), append(args, a.Args...)...)
}

func (a *Agent) source() string {
	if a.Kubeconfig != "" {
		return "--kubeconfig=" + a.Kubeconfig
	}
	return "--manifests=" + filepath.Join(a.Dir, "manifests")
}

// Socket of the API.
func (a *Agent) Socket() string { return filepath.Join(a.Dir, "agent.sock") }

// Start the agent inside the node's namespace: a child is born in the
// namespace of the thread that forks.
func (a *Agent) Start() error {
	a.process = a.command("--log-level=warn")
	a.process.Stdout, a.process.Stderr = a.Output, a.Output
	a.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us; we end it in order
	if err := a.Node.Do(a.process.Start); err != nil {
		return fmt.Errorf("start weir-agent: %w", err)
	}
	return nil
}

// WaitReady waits until `weir status` says so.
func (a *Agent) WaitReady(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := a.Weir("status", "-o", "json").CombinedOutput()
		var status struct{ Ready bool }
		if err == nil && json.Unmarshal(out, &status) == nil && status.Ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("weir-agent is not ready: %w; weir status says: %v %s", ctx.Err(), err, out)
		case <-tick.C:
		}
	}
}

// Generation is the number of changes of policy that the agent has applied.
func (a *Agent) Generation() (uint64, error) {
	out, err := a.Weir("status", "-o", "json").Output()
	if err != nil {
		return 0, fmt.Errorf("weir status: %w", err)
	}
	var status struct {
		Generation uint64 `json:",string"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return 0, fmt.Errorf("weir status: %w", err)
	}
	return status.Generation, nil
}

// Weir is a command of the CLI against this agent.
func (a *Agent) Weir(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(a.Bin, "weir"), append([]string{"--socket=" + a.Socket()}, args...)...)
}

// PID of the process that runs; 0: none does.
func (a *Agent) PID() int {
	if a.process == nil {
		return 0
	}
	return a.process.Process.Pid
}

// Kill ends the agent at once, as a crash does.
func (a *Agent) Kill() error {
	if a.process == nil {
		return nil
	}
	err := a.process.Process.Kill()
	_ = a.process.Wait() // says that it was killed
	a.process = nil
	return err
}

// Stop asks the agent to end. Policy stays in force.
func (a *Agent) Stop() error {
	process := a.process
	a.process = nil
	return End(process)
}

// Close stops the agent and removes everything of it from the node.
func (a *Agent) Close() error {
	errs := []error{a.Stop()}
	if a.Node.Namespace != nil {
		errs = append(errs, a.Node.Do(func() error {
			if out, err := a.command("cleanup").CombinedOutput(); err != nil {
				return fmt.Errorf("weir-agent cleanup: %w: %s", err, out)
			}
			return nil
		}))
	}
	return errors.Join(errs...)
}

// End asks a process to end, and insists after 10 s. A process that was told
// to end may exit as it likes.
func End(p *exec.Cmd) error {
	if p == nil || p.Process == nil {
		return nil
	}
	_ = p.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { _ = p.Process.Kill() })
	err := p.Wait()
	if !timer.Stop() {
		return fmt.Errorf("%s did not end within 10 s and was killed", filepath.Base(p.Path))
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
