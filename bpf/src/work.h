/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the slow path knows of the packet in hand, and how it rules.
 *
 * It is kept per CPU, not on the stack, and each step of the slow path is a
 * global function that finds it there: so the verifier looks at every step
 * once, for any contents, and not once for each way that leads to it. With
 * static functions and stack it took 1,000,000 instructions and gave up. Both
 * hooks run with softirqs off, one packet at a time. */
#ifndef WEIR_WORK_H
#define WEIR_WORK_H

#include "packet.h"

/* Which flow is asked about. */
enum subject {
	SUBJECT_PACKET = 0,
	SUBJECT_QUOTED = 1, /* in an ICMP error */
};

/* The zero value denies. */
struct ruling {
	__u32 set;      /* that decided; 0: none */
	__u32 rule;     /* 0: none */
	__u32 class;    /* of the peer */
	__u8 verdict;   /* enum verdict */
	__u8 reason;    /* enum reason */
	__u8 counted;   /* the reason of the totals; 0: the same */
	__u8 direction; /* whose policy decided */
	__u8 initiator; /* enum side */
	__u8 flow_flags;
	__u8 event;   /* enum event_kind; 0: none, but denials always have one */
	__u8 lasting; /* a denial that holds until a table is written, see denials.h */
};

struct work {
	struct packet packet;
	struct endpoint endpoint;
	struct ruling ruling;
	struct flow_key quoted; /* the flow that an ICMP error is about */
	struct called called;   /* the address before translation; zero: none known */
	__u32 revision;         /* of the tables, read before them */
	bool translated;        /* the packet has passed translation: its destination is final */
} __attribute__((aligned(8)));  /* cleared by double words */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct work)); /* no type: nobody else reads it */
	__uint(max_entries, 1);
} scratch SEC(".maps");

/* NULL never happens, but the verifier wants it asked; callers then deny. */
static __always_inline struct work *current_work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline int allow(struct ruling *ruling, __u8 reason)
{
	ruling->verdict = VERDICT_ALLOWED;
	ruling->reason = reason;
	return 0;
}

static __always_inline int deny(struct ruling *ruling, __u8 reason)
{
	ruling->verdict = VERDICT_DENIED;
	ruling->reason = reason;
	return 0;
}

/* What audit lets pass; forgeries are not among it. */
static __always_inline bool is_policy_miss(__u8 reason)
{
	return reason == REASON_NO_RULE || reason == REASON_DENY_RULE || reason == REASON_NO_HOOK ||
	       reason == REASON_REVOKED || reason == REASON_UNSUPPORTED ||
	       reason == REASON_FRAGMENT;
}

static __always_inline void apply_mode(const struct endpoint *ep, struct ruling *ruling)
{
	if (ep->mode != MODE_AUDIT || ruling->verdict != VERDICT_DENIED ||
	    !is_policy_miss(ruling->reason))
		return;
	ruling->verdict = VERDICT_AUDITED;
	ruling->event = EVENT_NEW;
}

static __always_inline __u32 set_of(const struct endpoint *ep, __u32 direction)
{
	__u32 ingress = ep->set_ingress, egress = ep->set_egress;

	/* Else the compiler computes one address from the other with "or",
	 * which no verifier takes. */
	barrier_var(ingress);
	return direction == DIR_INGRESS ? ingress : egress;
}

/* True: policy has nothing to say here, and the ruling is complete. */
static __always_inline bool is_unpoliced(const struct endpoint *ep, __u32 direction,
					 struct ruling *ruling)
{
	if (ep->mode == MODE_NOT_READY_OPEN)
		allow(ruling, REASON_NOT_READY_OPEN);
	else if (ep->mode != MODE_ENFORCE && ep->mode != MODE_AUDIT)
		deny(ruling, REASON_NOT_READY);
	else if (!set_of(ep, direction))
		allow(ruling, REASON_NOT_ISOLATED);
	else
		return false;
	return true;
}

#endif
