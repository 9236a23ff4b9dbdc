// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/pflag"

	"github.com/weirnet/weir/bpf"
)

// Options is everything that an operator can set. Flags, environment
// (WEIR_<FLAG>) and file (the flags' names as keys) fill it, in that order of
// precedence.
type Options struct {
	Node      string // name of this node, as spec.nodeName of its pods
	Manifests string // directory of manifests; empty: the API server
	// Kubeconfig is the way to the API server; empty: the ServiceAccount of the
	// pod that the agent is.
	Kubeconfig string
	PodEvents  bool   // write Kubernetes events
	StateDir   string // last good versions of objects, lock
	PinDir     string // on a bpffs
	Socket     string // gRPC, mode 0600
	Metrics    string // address of /metrics, /healthz, /readyz; empty: none
	Viewers    string // loopback address of the API for viewers with a token; empty: none

	Attach               string // auto, tcx, clsact
	ForwardHook          string // auto, netfilter, xtables, none
	Mode                 string // enforce, audit
	Modes                map[string]string
	Unready              string // allow, deny
	Existing             string // recheck, keep
	Midstream            string // lenient, strict
	SourceCheck          bool
	ForwardingNamespaces []string

	MaxFlows, MaxRows, MaxPeers, MaxEndpoints uint // 0: from the machine's memory
	StoredFlows                               uint
	RuleMetrics                               bool

	CNI CNIOptions

	LogLevel  string
	LogFormat string // text, json
}

// Defaults are the options of an agent that was told nothing.
func Defaults() Options {
	node, _ := os.Hostname() // Validate asks for a name if there is none
	return Options{
		Node:        node,
		StateDir:    "/var/lib/weir",
		PinDir:      "/sys/fs/bpf/weir",
		Socket:      "/run/weir/agent.sock",
		Metrics:     "127.0.0.1:9965",
		Attach:      "auto",
		ForwardHook: "auto",
		Mode:        "enforce",
		Unready:     "allow",
		Existing:    "recheck",
		Midstream:   "lenient",
		SourceCheck: true,
		PodEvents:   true,
		StoredFlows: 65536,
		CNI:         defaultCNI(),
		LogLevel:    "info",
		LogFormat:   "text",
	}
}

// Flags binds every option to a flag of the set.
func (o *Options) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Node, "node", o.Node, "name of this node, as spec.nodeName of its pods")
	fs.StringVar(&o.Manifests, "manifests", o.Manifests, "directory of manifests: Namespaces, Pods, NetworkPolicies, Services, EndpointSlices")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "file that leads to the API server, instead of --manifests; without either the pod's ServiceAccount is used")
	fs.BoolVar(&o.PodEvents, "pod-events", o.PodEvents, "write Kubernetes events on pods whose flows are denied or that cannot be enforced, and on unusable policies, where the source is an API server")
	fs.StringVar(&o.StateDir, "state-dir", o.StateDir, "where the agent keeps what must outlive it")
	fs.StringVar(&o.PinDir, "pin-dir", o.PinDir, "where maps and links are pinned, on a bpffs")
	fs.StringVar(&o.Socket, "socket", o.Socket, "Unix socket of the gRPC API")
	fs.StringVar(&o.Metrics, "metrics-address", o.Metrics, "address of /metrics, /healthz and /readyz; empty for none")
	fs.StringVar(&o.Viewers, "viewer-address", o.Viewers, "loopback address of the gRPC API for viewers, whose tokens the API server reviews, e.g. 127.0.0.1:9966; empty for none")
	fs.StringVar(&o.Attach, "attach", o.Attach, "how programs are attached: auto, tcx (kernel 6.6) or clsact")
	fs.StringVar(&o.ForwardHook, "forward-hook", o.ForwardHook, "how egress to Services is judged on the backend: auto, netfilter (kernel 6.4), xtables (xt_bpf in nf_tables) or none (denied for isolated pods)")
	fs.StringVar(&o.Mode, "mode", o.Mode, "enforce, or audit: let policy misses pass and report them")
	fs.StringToStringVar(&o.Modes, "namespace-mode", o.Modes, "mode of single namespaces, e.g. shop=audit,db=enforce")
	fs.StringVar(&o.Unready, "unready", o.Unready, "what a pod may do whose policy is not complete yet: allow or deny")
	fs.StringVar(&o.Existing, "existing-connections", o.Existing, "when a policy changes, live connections are: recheck or keep")
	fs.StringVar(&o.Midstream, "midstream", o.Midstream, "TCP without SYN and without a known flow: lenient takes it for a reply where a rule of the other direction allows it; strict does not")
	fs.BoolVar(&o.SourceCheck, "source-check", o.SourceCheck, "drop forged sources and encapsulated traffic from pods")
	fs.StringSliceVar(&o.ForwardingNamespaces, "forwarding-namespaces", o.ForwardingNamespaces, "namespaces whose pods route for others: no source check")
	fs.UintVar(&o.MaxFlows, "max-flows", o.MaxFlows, "entries of the flow table; 0: from the machine's memory")
	fs.UintVar(&o.MaxRows, "max-rows", o.MaxRows, "entries of the table of verdicts; 0: from the machine's memory")
	fs.UintVar(&o.MaxPeers, "max-peers", o.MaxPeers, "addresses of pods, Services and nodes; 0: from the machine's memory")
	fs.UintVar(&o.MaxEndpoints, "max-endpoints", o.MaxEndpoints, "pods on this node; 0: 1024")
	fs.UintVar(&o.StoredFlows, "stored-flows", o.StoredFlows, "flows kept for readers that come later")
	fs.BoolVar(&o.RuleMetrics, "rule-metrics", o.RuleMetrics, "count flows, packets and bytes of each rule, for `weir policy stats` and /metrics")
	o.CNI.flags(fs)
	fs.StringVar(&o.LogLevel, "log-level", o.LogLevel, "debug, info, warn or error")
	fs.StringVar(&o.LogFormat, "log-format", o.LogFormat, "text or json")
}

// Validate names every option that cannot be used, and what it may be.
func (o *Options) Validate() error {
	var errs []error
	one := func(flag, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			errs = append(errs, fmt.Errorf("--%s is %q; it may be %s", flag, value, strings.Join(allowed, " or ")))
		}
	}
	one("attach", o.Attach, "auto", "tcx", "clsact")
	one("forward-hook", o.ForwardHook, "auto", "netfilter", "xtables", "none")
	one("mode", o.Mode, "enforce", "audit")
	one("unready", o.Unready, "allow", "deny")
	one("existing-connections", o.Existing, "recheck", "keep")
	one("midstream", o.Midstream, "lenient", "strict")
	one("log-format", o.LogFormat, "text", "json")
	one("log-level", o.LogLevel, "debug", "info", "warn", "error")
	for _, ns := range sortedKeys(o.Modes) {
		one("namespace-mode "+ns, o.Modes[ns], "enforce", "audit")
	}
	for flag, value := range map[string]string{"node": o.Node, "state-dir": o.StateDir, "pin-dir": o.PinDir, "socket": o.Socket} {
		if value == "" {
			errs = append(errs, fmt.Errorf("--%s is empty; give it a value", flag))
		}
	}
	errs = append(errs, o.validateSource())
	if o.Metrics != "" {
		errs = append(errs, validateAddress("metrics-address", o.Metrics))
	}
	errs = append(errs, o.validateViewers())
	if o.StoredFlows == 0 {
		errs = append(errs, errors.New("--stored-flows is 0; keep at least 1 flow"))
	}
	return errors.Join(append(errs, o.CNI.validate())...)
}

// validateSource: there is exactly one.
func (o *Options) validateSource() error {
	switch {
	case o.Manifests != "" && o.Kubeconfig != "":
		return errors.New("--manifests and --kubeconfig are both given; there is one source of policies: drop one of them")
	case o.Manifests == "" && o.Kubeconfig == "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "":
		return errors.New("neither --manifests nor --kubeconfig is given, and this is no pod of a cluster: name the directory that holds the manifests, or the kubeconfig")
	}
	return nil
}

// validateViewers: who calls there brings a token, which only an API server can
// tell of, and which must not cross a network in the clear.
func (o *Options) validateViewers() error {
	if o.Viewers == "" {
		return nil
	}
	if o.Manifests != "" {
		return errors.New("--viewer-address needs an API server that knows the viewers, and --manifests has none; leave it out: the Unix socket is for root of this node")
	}
	at, err := netip.ParseAddrPort(o.Viewers)
	if err != nil || !at.Addr().IsLoopback() || at.Port() == 0 {
		return fmt.Errorf("--viewer-address is %q; it may be a loopback address with a port, e.g. 127.0.0.1:9966: what comes there is not encrypted", o.Viewers)
	}
	return nil
}

func validateAddress(flag, value string) error {
	host, _, err := net.SplitHostPort(value)
	if err != nil {
		return fmt.Errorf("--%s is %q: %w; give it as 127.0.0.1:9965", flag, value, err)
	}
	if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("--%s is %q: %w; give an address, not a name", flag, value, err)
		}
	}
	return nil
}

// mode of the pods of a namespace.
func (o *Options) mode(namespace string) bpf.WeirMode {
	name := o.Mode
	if m, ok := o.Modes[namespace]; ok {
		name = m
	}
	if name == "audit" {
		return bpf.WeirModeMODE_AUDIT
	}
	return bpf.WeirModeMODE_ENFORCE
}

// Logger writes to stderr as the options say.
func (o *Options) Logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(o.LogLevel)) // Validate has checked it
	handler := &slog.HandlerOptions{Level: level}
	if o.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, handler))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, handler))
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
