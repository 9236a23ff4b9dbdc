// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/cmd/weir/kube"
	"github.com/weirnet/weir/cmd/weir/output"
)

const (
	defaultSocket         = "/run/weir/agent.sock"
	defaultRequestTimeout = 10 * time.Second
)

// process is what a command takes from the process that it runs in.
type process struct {
	name     string // argv[0]
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	now      func() time.Time
	location *time.Location
	terminal bool // out is one
	// size of the terminal in characters; 0, 0: not known.
	size func() (columns, lines int)
	// findAgents nil: the cluster's own API server is asked.
	findAgents func(ctx context.Context, o kube.Options, nodes, viewers []string) ([]kube.Agent, []kube.Missing, error)
}

// session is a process with the flags that all commands have.
type session struct {
	process
	place
	found          *agents // of the cluster; nil: not looked for yet
	requestTimeout time.Duration
}

// usageError is a mistake on the command line; its exit code is 2.
type usageError struct {
	cause   error
	command string // whose --help tells more
}

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

// run executes the command line and returns the exit code.
func run(ctx context.Context, p process, args []string) int {
	root := newRoot(&session{process: p})
	root.SetArgs(arguments(p.name, args))
	err := root.ExecuteContext(ctx)
	var usage *usageError
	var end *outcome
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &end):
		if end.said != "" {
			p.complain("%s", output.Escape(end.said))
		}
		return end.code
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &usage):
		// Joined errors stand on a line each.
		for line := range strings.SplitSeq(err.Error(), "\n") {
			p.complain("%s", output.Escape(line))
		}
		fmt.Fprintf(p.err, "see: %s --help\n", usage.command)
		return exitUsage
	}
	p.complainOf(err)
	return exitError
}

// arguments of a kubectl_complete-weir, which kubectl runs when its user presses
// Tab behind "kubectl weir", are the words to complete.
func arguments(argv0 string, args []string) []string {
	if strings.HasPrefix(baseName(argv0), "kubectl_complete-") {
		return append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	return args
}

func baseName(argv0 string) string { return strings.TrimSuffix(filepath.Base(argv0), ".exe") }

// complainOf an error. Joined errors stand on a line each; a line's end that an
// agent sent is not one.
func (p *process) complainOf(err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var lines []string
		for _, e := range joined.Unwrap() {
			lines = append(lines, e.Error())
		}
		if strings.Join(lines, "\n") == err.Error() { // and not of one sentence
			for _, e := range joined.Unwrap() {
				p.complainOf(e)
			}
			return
		}
	}
	p.complain("%s", output.Escape(err.Error()))
}

// complain writes a line to standard error under the name of the program.
func (p *process) complain(format string, args ...any) {
	fmt.Fprintf(p.err, "%s: %s\n", programName(p.name), fmt.Sprintf(format, args...))
}

// programName is what a user types: kubectl finds kubectl-weir as "kubectl weir".
func programName(argv0 string) string {
	for _, prefix := range []string{"kubectl-", "kubectl_complete-"} {
		if plugin, found := strings.CutPrefix(baseName(argv0), prefix); found {
			return "kubectl " + plugin
		}
	}
	return "weir"
}

func newRoot(s *session) *cobra.Command {
	name := programName(s.name)
	root := &cobra.Command{
		Use:   "weir",
		Short: "Shows what the weir agents of a node or a cluster see and enforce",
		Long: `Shows what weir agents see and enforce.

The agent of this node is reached on its Unix socket, which only root may open.
All agents of a cluster are reached through the API server's port forwarding,
with --kubeconfig or --context, as kubectl plugin, and, where no agent has a
socket here, with the kubeconfig of KUBECONFIG or ~/.kube/config. Then flows are
shown in order of time, and what is known of each node is told by node; a node
that does not answer is named on standard error, and the exit code is 5.

In a cluster you act as the ServiceAccount weir-viewer of the one namespace that
-n names, if you may create its token, and else of weir's own namespace, which
sees all. You need: list pods and create pods/portforward in weir's namespace,
and create serviceaccounts/token for weir-viewer.

` + exitCodes,
		Example: examples(name,
			"observe -f                          # flows as they come",
			"observe --verdict denied -n shop    # what was denied in a namespace",
			"drops                               # who is denied what, and why",
			"explain shop/web shop/db --port 5432",
			"status"),
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,

		SuggestionsMinimumDistance: 2,

		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return wrong(c, err) })

	flags := root.PersistentFlags()
	s.place.register(flags, s.getenv)
	complete(root, "node", completeNodes(s))
	flags.DurationVar(&s.requestTimeout, "request-timeout", defaultRequestTimeout, "how long to wait for an answer of the agent")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return s.check(c) }

	root.AddCommand(
		newObserve(s, name),
		newDrops(s, name),
		newTop(s, name),
		newRecord(s, name),
		newExplain(s, name),
		newStatus(s, name),
		newEndpoints(s, name),
		newPolicy(s, name),
		newVersion(s, name),
	)
	return root
}

func (s *session) check(c *cobra.Command) error {
	var problems []error
	if s.requestTimeout <= 0 {
		problems = append(problems, fmt.Errorf("--request-timeout %s is not above 0", s.requestTimeout))
	}
	s.socketGiven = s.socketGiven || c.Flags().Changed("socket")
	if s.socketGiven && c.Flags().Changed("socket") && (s.options.Kubeconfig != "" || s.options.Context != "") {
		problems = append(problems, errors.New("--socket is an agent of this node, --kubeconfig and --context are a cluster; leave one out"))
	}
	if s.socket == "" {
		problems = append(problems, errors.New("--socket is empty; the default is "+defaultSocket))
	}
	if len(problems) > 0 {
		return wrong(c, errors.Join(problems...))
	}
	return nil
}

// style has colour on a terminal that wants it (https://no-color.org).
func (s *session) style() output.Style {
	return output.Style{
		Color:    s.terminal && s.getenv("NO_COLOR") == "" && s.getenv("TERM") != "dumb",
		Location: s.location,
	}
}

func wrong(c *cobra.Command, cause error) error {
	return &usageError{cause: cause, command: c.CommandPath()}
}

// positional makes a mistake in the number of arguments a usage error.
func positional(check cobra.PositionalArgs, want string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if check(c, args) != nil {
			return wrong(c, fmt.Errorf("%s takes %s, got %d", c.Name(), want, len(args)))
		}
		return nil
	}
}

func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	said := fmt.Sprintf("there is no command %q", args[0])
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		said += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return wrong(c, errors.New(said))
}

// examples is a block of command lines for --help.
func examples(name string, lines ...string) string {
	var b strings.Builder
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("  " + name + " " + line)
	}
	return b.String()
}
