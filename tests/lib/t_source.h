// SPDX-License-Identifier: Apache-2.0
//
// The source of a simulated world, the file "src": what happens to it between two runs.
#ifndef T_SOURCE_H
#define T_SOURCE_H

#include "engine/ring/sim.h"
#include "tests/lib/t_env.h"

/** t_source_resize - durable when it returns; grown bytes are zeros */
void t_source_resize(struct br_sim *sim, uint64_t size_bytes);
/** t_source_write - one to three units of noise, or of zeros, somewhere in the source; @unit_bytes: 64 KiB at most */
void t_source_write(struct t_rand *rand, struct br_sim *sim, uint64_t unit_bytes);

#endif
