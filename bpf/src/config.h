/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Constants that the loader sets before a program is verified; a change means
 * loading the programs again. */
#ifndef WEIR_CONFIG_H
#define WEIR_CONFIG_H

#include <linux/types.h>
#include <stdbool.h>

volatile const __u32 ticks_per_second = 250; /* the kernel's HZ, measured by the loader */

/* Events of one endpoint in a second, and at once; a burst of 0: no limit. */
volatile const __u32 allowed_rate = 2000;
volatile const __u32 allowed_burst = 4000;
volatile const __u32 denied_rate = 500;
volatile const __u32 denied_burst = 1000;

/* Each ring of events has 2 to the power of this bytes. */
volatile const __u32 ring_order = 20;

volatile const bool recheck_existing = true;   /* --existing-connections=recheck */
volatile const bool midstream_strict = false;  /* --midstream=strict */
volatile const bool source_check = true;       /* spoofing and overlay defence */
volatile const bool have_forward_hook = false; /* a program sees packets after translation */
volatile const bool have_conntrack = false;    /* the kernel has bpf_skb_ct_lookup (5.18) */

#endif
