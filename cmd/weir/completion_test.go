// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	pb "github.com/weirnet/weir/api/v1"
)

// completions are the words that the shell is given, and the directive.
func completions(t *testing.T, term *terminal, words ...string) string {
	t.Helper()
	if code := term.run(append([]string{cobra.ShellCompNoDescRequestCmd}, words...)...); code != exitDone {
		t.Fatalf("%v: exit code %d: %s", words, code, term.err.String())
	}
	var said []string
	for line := range strings.Lines(term.out.String()) {
		said = append(said, strings.TrimSpace(line))
	}
	term.out = buffer{}
	return strings.Join(said, " ")
}

func TestCompletion(t *testing.T) {
	agent := sampleAgent()
	agent.list.Policies[0].Rules = []*pb.Rule{{Ref: &pb.RuleRef{Policy: agent.list.Policies[0].Ref, Direction: 2, Index: 3}}}
	service := &pb.Peer{Identity: pb.Identity_IDENTITY_SERVICE, Namespace: "shop", Name: "db"}
	far := &pb.Peer{Identity: pb.Identity_IDENTITY_POD, Namespace: "far", Name: "away"}
	agent.summary = &pb.SummarizeResponse{Groups: []*pb.SummaryGroup{{Source: far}, {Destination: service}, {Destination: &pb.Peer{Ip: "1.2.3.4", Identity: pb.Identity_IDENTITY_WORLD}}}}
	socket := socketPath(t)
	agent.serve(t, socket)
	rows := []struct{ line, want string }{
		{"observe --pod |", "bank/api far/away shop/web :4"},
		{"observe --pod s|", "shop/web :4"},
		{"observe --from-pod bank/api,s|", "bank/api,shop/web :4"},
		{"observe --to-namespace |", "bank far shop :4"},
		{"observe -n |", "bank far shop :4"},
		{"observe --policy |", "shop/allow-app :4"},
		{"observe --rule |", "shop/allow-app:egress:3 :4"},
		{"observe --to-service |", "shop/db :4"},
		{"observe --verdict d|", "denied :4"},
		{"observe --reason no-|", "no-rule no-hook :4"},
		{"observe -o |", "compact wide table dict json jsonl yaml :4"},
		{"observe --tcp-flags s|", "syn :4"},
		{"observe --drop-reason spoof|", "spoofed :4"},
		{"top --by src,ver|", "src,verdict :4"},
		{"top --order n|", "newest :4"},
		{"drops --order |", "denials newest :4"},
		{"drops -n f|", "far :4"},
		{"record --pod f|", "far/away :4"},
		{"status -o y|", "yaml :4"},
		{"explain |", "bank/api far/away shop/web :4"},
		{"explain shop/web f|", "far/away :4"},
		{"explain a b |", ":4"},
		{"explain -n |", "bank far shop :4"},
		{"policy show |", "shop/allow-app :4"},
		{"policy list -n s|", "shop :4"},
		{"endpoints -n b|", "bank :4"},
	}
	for _, row := range rows {
		line, _ := strings.CutSuffix(row.line, "|")
		term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
		if got := completions(t, term, strings.Split(line, " ")...); got != row.want {
			t.Errorf("%s: %s, want %s", row.line, got, row.want)
		}
	}
}

// Tab without an agent gives nothing, and says nothing.
func TestCompletionWithoutAnAgent(t *testing.T) {
	term := newTerminal(map[string]string{"WEIR_SOCKET": socketPath(t)})
	if got := completions(t, term, "observe", "--pod", ""); got != ":4" {
		t.Errorf("%s", got)
	}
}

// kubectl looks for kubectl_complete-weir, which gets the words alone.
func TestCompletionForKubectl(t *testing.T) {
	term := newTerminal(nil)
	term.process.name = "/usr/bin/kubectl_complete-weir"
	if code := term.run("observe", "--verdict", "d"); code != exitDone || !strings.HasPrefix(term.out.String(), "denied\n:4\n") {
		t.Errorf("exit code %d: %s%s", code, term.out.String(), term.err.String())
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		term := newTerminal(nil)
		if code := term.run("completion", shell); code != exitDone || !strings.Contains(term.out.String(), "weir") {
			t.Errorf("%s: exit code %d: %s", shell, code, term.err.String())
		}
	}
}

// complete drops the error for a flag that does not exist: this finds one.
func TestEveryFlagThatIsCompletedExists(t *testing.T) {
	root := newRoot(&session{process: newTerminal(nil).process})
	completed := 0
	for _, name := range []string{"observe", "record", "top", "drops"} {
		c, _, err := root.Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if _, found := c.GetFlagCompletionFunc(f.Name); found {
				completed++
			}
		})
		for _, d := range filterDefinitions() {
			if c.Flags().Lookup(d.name) == nil {
				t.Errorf("%s has no --%s", name, d.name)
			}
		}
	}
	if completed < 4*21 {
		t.Errorf("only %d flags are completed", completed)
	}
}
