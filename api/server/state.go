// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// Errors that the agent wraps, so that callers get the right code. The text of
// the whole error reaches the caller; any other error is logged as well.
var (
	// ErrNotFound: no such object, pod or address.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: the question makes no sense, whatever the state.
	ErrInvalid = errors.New("invalid")
	// ErrConflict: it contradicts the present state, e.g. an announcement
	// against a binding.
	ErrConflict = errors.New("conflict")
	// ErrNotReady: it cannot be answered yet; later it can.
	ErrNotReady = errors.New("not ready")
)

// PolicyReader shows what is enforced.
type PolicyReader interface {
	// Policies of a namespace (empty: of all), in any order.
	Policies(ctx context.Context, namespace string) ([]PolicyState, error)
	// Policy wraps ErrNotFound.
	Policy(ctx context.Context, key policy.ObjectKey) (PolicyState, error)
	// Stats of a namespace (empty: of all), in any order; it wraps ErrNotFound
	// for a name, unless that is empty, of which there is no policy.
	Stats(ctx context.Context, namespace, name string) (Stats, error)
}

// Stats are counts of policies. The zero Stats: nobody counts.
type Stats struct {
	Since    time.Time // zero: nobody counts
	Policies []PolicyStats
}

// PolicyStats are the counts of one policy.
type PolicyStats struct {
	Key     policy.ObjectKey
	Rules   []RuleStats
	Denials uint64 // packets for want of a rule, told by events
}

// RuleStats are the counts of one rule.
type RuleStats struct {
	Ref policy.RuleRef
	flows.RuleAccount
}

// Explainer judges a flow that need not exist.
type Explainer interface {
	// Explain wraps ErrNotFound for an end that is unknown.
	Explain(ctx context.Context, q Question) (Explanation, error)
}

// StateReader shows the agent itself.
type StateReader interface {
	Status(ctx context.Context) (Status, error)
	Endpoints(ctx context.Context) ([]Endpoint, error)
}

// Announcer takes news of pods from the CNI plugin.
type Announcer interface {
	// Announce returns when the pod's programs are attached and its policy is
	// in the maps, with the state of the endpoint: enforced, audited or
	// notready. It wraps ErrConflict for what contradicts a binding.
	Announce(ctx context.Context, a Announcement) (state string, err error)
	// Retract of a pod that nobody announced is no error: a plugin repeats it.
	Retract(ctx context.Context, pod policy.ObjectKey, uid string) error
}

// PolicyState is a policy as the agent understood it.
type PolicyState struct {
	Key      policy.ObjectKey
	UID      string
	Subjects string  // the selector in one line
	Isolates [2]bool // by policy.Direction
	Rules    []RuleState
	Pods     []policy.ObjectKey // of this node, that it selects
	Problems []string
	// Generation of the object; 0: its source counts none. InForce: it is in the
	// maps.
	Generation int64
	InForce    bool
	PodStates  map[string]uint32 // pods of this node that it selects, by Endpoint.State
}

// RuleState is one rule in one line.
type RuleState struct {
	Ref      policy.RuleRef
	Text     string
	Problems []string
}

// Question is what Explain is asked. A source or destination is a pod
// (Addr is then not valid) or an address.
type Question struct {
	Source, Destination End
	Protocol            policy.Protocol
	Port                uint16
}

// End names a pod or an address.
type End struct {
	Pod  policy.ObjectKey
	Addr netip.Addr
}

// Explanation is the answer: the verdict of both ends together, and of each.
type Explanation struct {
	Verdict             flows.Verdict
	Source, Destination flows.Peer
	Ends                []ExplainedEnd
}

// ExplainedEnd is the judgement of one pod's policies.
type ExplainedEnd struct {
	Direction policy.Direction
	Pod       policy.ObjectKey
	Here      bool // false: the pod is not on this node, and nothing below is set
	Verdict   flows.Verdict
	Reason    flows.Reason
	Rule      *policy.RuleRef // decided; nil: none did
	Outcomes  []Outcome
	Isolating []policy.ObjectKey
	Live      *LiveAnswer // nil: the maps were not asked
	Backend   *flows.Peer // of the Service that was asked about; nil: the destination itself
}

// Outcome says why a rule did or did not match.
type Outcome struct {
	Rule    policy.RuleRef
	Matched bool
	Why     string
}

// LiveAnswer is what the maps of the data path say to the same question.
type LiveAnswer struct {
	Verdict flows.Verdict
	Rule    *policy.RuleRef
}

// Status is the agent's state. Run id and subscribers are the server's own.
type Status struct {
	Version    string
	Node       string
	Started    time.Time
	Ready      bool
	Conditions []Condition
	Kernel     string
	Features   []Feature
	Endpoints  map[string]uint32 // by state
	Maps       []MapUse
	Emitted    uint64 // events
	Lost       uint64 // events
	Generation uint64
	LastApply  time.Duration
	Epoch      uint32
	Neighbours []Neighbour
	Mode       string
	Source     string
	Rings      []Ring
	Programs   []Program
	// Live flows that are remembered until they end, how many can be, and how
	// many could not.
	Remembered, RememberedCapacity, NotRemembered uint64
}

// Ring of events; totals since it was made, Waiting and Size in bytes.
type Ring struct {
	Name                            string
	Emitted, Lost, Limited, Thinned uint64
	Repeated                        uint64
	Waiting, Size                   uint64
	Sample                          uint32 // one in so many is told; 0: not known
}

// Program of the data path, with the kernel's statistics of its runs.
type Program struct {
	Name     string
	RunCount uint64
	RunTime  time.Duration
}

// Condition holds readiness back while it is not OK, or is a warning.
type Condition struct {
	Name    string
	OK      bool
	Message string
}

// Feature of the kernel: what is in use, and why not the better one.
type Feature struct{ Name, InUse, Why string }

// MapUse counts the entries of a map.
type MapUse struct {
	Name              string
	Entries, Capacity uint64
}

// Neighbour is somebody else's program on a hook that weir is on.
type Neighbour struct {
	Interface, Hook, Program string
	Ahead                    bool
}

// Endpoint is an interface with the pod behind it.
type Endpoint struct {
	Interface                       string
	Ifindex                         uint32
	Pod                             policy.ObjectKey // empty: none
	IPs                             []netip.Addr
	State                           string
	Why                             string
	SetIngress, SetEgress           uint32
	IngressPolicies, EgressPolicies []policy.ObjectKey
	Attached                        string
}

// Announcement tells of a pod before its first packet.
type Announcement struct {
	Pod       policy.ObjectKey
	UID       string
	IPs       []netip.Addr
	Interface string // host side of the veth
}
