/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What crosses between the programs and user space, and nothing else.
 *
 * Rules of this file: explicit padding (always zero: keys are compared as
 * bytes), byte order said on every field, no bitfields, packed structs or
 * unions, and each size asserted here and again in Go against the BTF that is
 * embedded in the object. The Go types are generated from these.
 *
 * Byte order: "host" is the machine's own, "network" is big endian as on the
 * wire. Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. A
 * real IPv6 packet that carries such an address is dropped as malformed, so
 * the two families cannot meet in one key.
 *
 * Time: "ticks" are the low 32 bits of jiffies64, compared by difference.
 */
#ifndef WEIR_TYPES_H
#define WEIR_TYPES_H

#include <linux/types.h>

/* ADDR aligns an address so that it is copied and compared by words. */
#define ADDR __attribute__((aligned(4)))

enum direction {
	DIR_INGRESS = 0, /* towards the pod */
	DIR_EGRESS = 1,  /* from the pod */
};

/* Who sent the first packet of a flow, seen from the pod. */
enum side {
	SIDE_LOCAL = 0,  /* the pod */
	SIDE_REMOTE = 1, /* the other end */
};

/* The zero value denies. */
enum verdict {
	VERDICT_DENIED = 0,
	VERDICT_ALLOWED = 1,
	VERDICT_AUDITED = 2, /* would have been denied, and passed */
};

/* Why. Names of users' output come from this list: REASON_NO_RULE is
 * "no-rule"; never renumber, append before REASON_COUNT. */
enum reason {
	REASON_UNKNOWN = 0,

	/* allowed */
	REASON_RULE = 1,         /* a rule names this peer and port */
	REASON_NOT_ISOLATED = 2, /* no policy selects the pod in this direction */
	REASON_REPLY = 3,        /* belongs to a flow that the pod's peer may answer */
	REASON_ESTABLISHED = 4,  /* belongs to a known flow (counters only) */
	REASON_RELATED = 5,      /* ICMP error about a known flow */
	REASON_FROM_NODE = 6,    /* sent by the node itself (probes and the like) */
	REASON_TO_NODE = 7,      /* delivered to the node itself */
	REASON_OWN_TRAFFIC = 8,  /* the pod reaches itself through its Service */
	REASON_NEIGHBOUR = 9,    /* ARP and IPv6 neighbour discovery */
	REASON_MIDSTREAM = 10,   /* TCP without SYN taken for the middle of an allowed connection */
	REASON_DEFERRED = 11,    /* to an address that the node translates; decided after it */
	REASON_CONFIGURATION = 12,  /* DHCP and multicast listener reports */
	REASON_NOT_READY_OPEN = 13, /* policy not complete yet, and --unready=allow */

	/* denied */
	REASON_NO_RULE = 32,   /* isolated, and no rule allows it */
	REASON_DENY_RULE = 33, /* a rule denies it (tiers) */
	REASON_SPOOFED = 34,   /* the source address is not the pod's */
	REASON_OVERLAY = 35,   /* encapsulated traffic from a pod to the node */
	REASON_MALFORMED = 36,
	REASON_FRAGMENT = 37,    /* a fragment that no first fragment vouches for */
	REASON_UNSUPPORTED = 38, /* an EtherType that policy cannot speak of */
	REASON_NOT_READY = 39,   /* policy not complete yet */
	REASON_NO_HOOK = 40,     /* translated destination, and no hook after translation */
	REASON_REVOKED = 41,     /* an established flow that a policy change has cut */
	REASON_NEIGHBOUR_FORGED =
		42,           /* neighbour discovery or ARP that claims what is not the pod's */
	REASON_LOOPBACK = 43, /* 127/8 or ::1 on the wire */

	REASON_COUNT = 48,
};

/* What an endpoint's policy misses do. The zero value denies everything. */
enum mode {
	MODE_NOT_READY = 0, /* deny: announced, policy not complete */
	MODE_ENFORCE = 1,
	MODE_AUDIT = 2,
	MODE_NOT_READY_OPEN = 3, /* allow: known, policy not complete, --unready=allow */
};

enum endpoint_flag {
	EP_FORWARDS = 1,    /* may send what it did not originate: no source check */
	EP_INGRESS_ANY = 2, /* set_ingress has rows of class 0, which hold for every class */
	EP_EGRESS_ANY = 4,  /* the same for set_egress */
	EP_HANDOVER = 8,    /* the programs of the run before judge it, also behind translation */
};

enum peer_flag {
	PEER_SERVICE = 1, /* a Service's cluster, external or load balancer address */
	PEER_NODE = 2,    /* an address of this node */
};

enum flow_flag {
	FLOW_ANSWERED = 1,  /* the side that did not begin has sent, and the one that began too */
	FLOW_MIDSTREAM = 2, /* taken up in the middle */
	FLOW_DEFERRED = 4,  /* decided after translation, under another tuple */
	FLOW_TOMBSTONE = 8, /* cut: its packets are denied, and never taken for mid-stream */
	FLOW_STICKY = 16,   /* not re-derived from a reply: from node, own traffic, related */
	FLOW_FOREIGN =
		64, /* the local address is not the pod's (multicast, flooding): nothing from the pod */
	FLOW_TRANSLATED =
		32, /* made after translation: only the pod's own packets are counted in it */
	FLOW_CALLS_NODE = 128, /* an isolated pod calls an address of its node, see calls.h */
};

/* In skb->tc_index; all others are hashes, see mark.h. */
enum packet_mark {
	MARK_CALLS_NODE = 0x7765, /* of a flow with FLOW_CALLS_NODE */
};

enum event_kind {
	EVENT_NEW = 1,     /* the first packet of a flow, or of a denied tuple */
	EVENT_REVOKED = 2, /* a policy change cut a live flow */
	EVENT_FREED = 3,   /* a policy change gave a live flow another rule or verdict */
};

/* Index of the map rings. */
enum ring {
	RING_ALLOWED = 0,
	RING_DENIED = 1,
	RING_COUNT = 2,
};

/* endpoints: key is the host veth's ifindex (host order). */
struct endpoint {
	__u32 ifindex;     /* the key again, see lookup.h; host */
	__u32 set_ingress; /* policy set id; 0: not isolated */
	__u32 set_egress;
	__u32 slot; /* index into flow_usage and flow_limit */
	__u8 mode;  /* enum mode */
	__u8 flags; /* enum endpoint_flag */
	__u8 pad[2];
};
_Static_assert(sizeof(struct endpoint) == 20, "endpoint");

struct address {
	__u8 bytes[16] ADDR; /* network */
};
_Static_assert(sizeof(struct address) == 16, "address");

/* local_ips: key struct address. */
struct owner {
	struct address address; /* the key again */
	__u32 ifindex;          /* of the host veth that may send from it; host */
};
_Static_assert(sizeof(struct owner) == 20, "owner");

/* peers: key struct address. */
struct peer {
	struct address address; /* the key again */
	__u32 class;            /* peer class id; 0: satisfies no term */
	__u32 flags;            /* enum peer_flag */
};
_Static_assert(sizeof(struct peer) == 24, "peer");

/* cidrs: value is a class id. ::ffff:0:0/96 is always there, so that an IPv6
 * prefix never covers an IPv4 address. */
struct cidr_key {
	__u32 prefix_len;   /* host; an IPv4 prefix length plus 96 */
	__u8 addr[16] ADDR; /* network */
};
_Static_assert(sizeof(struct cidr_key) == 20, "cidr_key");

struct row_key {
	__u32 set;
	__u32 class;
	__u8 protocol; /* IANA number; 0: the row for every protocol */
	__u8 page;     /* 0 first */
	__u8 pad[2];
};
_Static_assert(sizeof(struct row_key) == 12, "row_key");

enum action {
	ACTION_DENY = 0,
	ACTION_ALLOW = 1,
};

struct interval {
	__u16 lo;    /* host; 0 only where a rule has no port number */
	__u16 hi;    /* host; inclusive */
	__u32 rule;  /* rule id; ids start at 1 */
	__u8 action; /* enum action */
	__u8 pad[3];
};
_Static_assert(sizeof(struct interval) == 12, "interval");

enum row_limit {
	ROW_INTERVALS = 14, /* in one page */
	ROW_PAGES = 64,     /* of one row */
};

/* rows: intervals are sorted by lo and disjoint, within a page and across
 * pages. The key is repeated because hash elements are recycled under a
 * reader: a value whose key is not the one asked for counts as absent. */
struct row {
	struct row_key key;
	__u16 count; /* intervals used in this page */
	__u16 more;  /* 1: the next page exists */
	struct interval intervals[ROW_INTERVALS];
};
_Static_assert(sizeof(struct row) == 184, "row");

/* flows, flows_spill: one entry for both directions of a connection, as the
 * pod sees it. ICMP and ICMPv6 queries: the identifier stands at the side
 * that asks, the type of the request at the other, so that an echo request
 * from the peer never meets the entry of one from the pod. Protocols without
 * ports: both 0. */
struct flow_key {
	__u32 ifindex;        /* host */
	__u8 local[16] ADDR;  /* network */
	__u8 remote[16] ADDR; /* network */
	__be16 local_port;    /* network */
	__be16 remote_port;   /* network */
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct flow_key) == 44, "flow_key");

/* Counters are updated without atomics: when two CPUs carry packets of one
 * flow and direction at the same instant an increment may be lost. They never
 * decide anything. */
struct flow {
	__u64 tx_packets; /* from the pod; GSO counted as segments */
	__u64 tx_bytes;   /* layer 3 up, as skb->len less the link header */
	__u64 rx_packets;
	__u64 rx_bytes;
	__u32 first;   /* ticks */
	__u32 last_tx; /* ticks of the last packet from the pod; first if none */
	__u32 last_rx;
	__u32 epoch;    /* the epoch read before the endpoint */
	__u32 set;      /* policy set that decided; 0: none */
	__u32 rule;     /* rule id; 0: none */
	__u8 initiator; /* enum side */
	__u8 verdict;   /* enum verdict */
	__u8 reason;    /* enum reason */
	__u8 flags;     /* enum flow_flag */
	__u8 tcp_tx;    /* TCP flags seen from the pod, or-ed; bits as in the header */
	__u8 tcp_rx;
	__u16 tag; /* of the key, see flow_is */
};
_Static_assert(sizeof(struct flow) == 64, "flow");

struct frag_key {
	__u32 ifindex;     /* host */
	__u8 src[16] ADDR; /* network */
	__u8 dst[16] ADDR; /* network */
	__u32 id;          /* network, IPv4: 16 bits of it */
	__u8 protocol;
	__u8 direction; /* enum direction */
	__u8 pad[2];
};
_Static_assert(sizeof(struct frag_key) == 44, "frag_key");

struct frag {
	struct frag_key key; /* again */
	__u32 seen;          /* ticks */
	__u32 epoch;
	__be16 sport; /* network; of the first fragment */
	__be16 dport;
	__u8 verdict; /* enum verdict */
	__u8 reason;  /* enum reason */
	__u8 pad[2];
};
_Static_assert(sizeof(struct frag) == 60, "frag");

/* deferred: what a pod called by an address that the node translates. */
struct caller {
	__u32 ifindex;       /* host */
	__u8 local[16] ADDR; /* network */
	__be16 local_port;   /* network */
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct caller) == 24, "caller");

struct called {
	__u8 service[16] ADDR; /* network; the address before translation */
	__be16 service_port;   /* network */
	__u8 pad[2];
};
_Static_assert(sizeof(struct called) == 20, "called");

/* translated: ports on which the node translates what is sent to one of its
 * own addresses (Services' node ports, pods' host ports); tunnels: UDP ports
 * on which the node takes off an encapsulation. The value is 1. */
struct port_key {
	__be16 port; /* network */
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct port_key) == 4, "port_key");

struct traffic {
	__u64 packets; /* GSO counted as segments */
	__u64 bytes;   /* layer 3 up */
};

/* drops: what was denied or audited. */
struct drop_key {
	__u32 ifindex; /* host */
	__u8 direction;
	__u8 reason;
	__u8 verdict;
	__u8 pad;
};
_Static_assert(sizeof(struct drop_key) == 8, "drop_key");

enum denial_limit {
	DENIAL_PLACES = 16384, /* a power of two */
};

/* denials: one tuple is told at most once a second. */
struct denial {
	__u64 tag;     /* hash of the flow key; 0: free */
	__u32 told;    /* ticks */
	__u32 repeats; /* since then */
};
_Static_assert(sizeof(struct denial) == 16, "denial");

/* denied_tuples: what was ruled on the tuple of the denial at the same place. */
struct denied {
	struct flow_key key;
	__u32 revision; /* of the tables by which it was ruled; 0: do not read */
	__u8 direction; /* enum direction */
	__u8 reason;    /* enum reason */
	__u8 pad[2];
};
_Static_assert(sizeof(struct denied) == 52, "denied");

/* allowances: key is an endpoint's slot. A bucket is full when it was never
 * used. */
struct bucket {
	__u32 tokens; /* ticks_per_second of them tell one event */
	__u32 filled; /* ticks; 0: never used */
};

struct allowance {
	struct bucket allowed;
	struct bucket denied;
};
_Static_assert(sizeof(struct allowance) == 16, "allowance");

/* rings: every event that a packet called for is counted once. */
struct ring_stats {
	__u64 emitted;
	__u64 lost;       /* the ring was full */
	__u64 limited;    /* the endpoint had no tokens */
	__u64 thinned;    /* the ring was filling: allowed flows, repeated denials */
	__u64 suppressed; /* denials of a tuple that was told within the last second */
};

struct event {
	__u64 time;           /* ns of CLOCK_MONOTONIC */
	__u32 ifindex;        /* host */
	__u8 local[16] ADDR;  /* network; the pod's side as the packet says it */
	__u8 remote[16] ADDR; /* network */
	__be16 local_port;    /* network */
	__be16 remote_port;   /* network */
	__u8 protocol;
	__u8 kind;       /* enum event_kind */
	__u8 direction;  /* enum direction: which policy decided */
	__u8 verdict;    /* enum verdict */
	__u8 reason;     /* enum reason */
	__u8 initiator;  /* enum side */
	__u8 tcp_flags;  /* of this packet */
	__u8 flow_flags; /* enum flow_flag */
	__u8 icmp_type;
	__u8 icmp_code;
	__be16 ethertype;      /* network */
	__u32 set;             /* policy set that decided; 0: none */
	__u32 rule;            /* rule id; 0: none */
	__u32 class;           /* of the peer */
	__u32 length;          /* bytes, layer 3 up */
	__u32 repeats;         /* denials of this tuple not told since the last event */
	__be16 service_port;   /* network; 0: not translated */
	__u16 sample;          /* the event stands for so many; 1 but while a ring fills */
	__u8 service[16] ADDR; /* network; the address before translation */
	__u32 pad;
};
_Static_assert(sizeof(struct event) == 104, "event");

#endif
