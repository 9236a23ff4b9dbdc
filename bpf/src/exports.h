/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keeps the types that no map names in the object's BTF, for bpf2go. */
#ifndef WEIR_EXPORTS_H
#define WEIR_EXPORTS_H

#include "types.h"

struct exports {
	struct event event;
	enum direction direction;
	enum side side;
	enum verdict verdict;
	enum reason reason;
	enum mode mode;
	enum endpoint_flag endpoint_flag;
	enum peer_flag peer_flag;
	enum flow_flag flow_flag;
	enum packet_mark packet_mark;
	enum event_kind event_kind;
	enum ring ring;
	enum action action;
	enum row_limit row_limit;
};

const struct exports *exports __attribute__((unused));

#endif
