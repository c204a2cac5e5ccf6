// SPDX-License-Identifier: Apache-2.0
//
// Streams on standard output and input, as send and receive have them, whatever is at this end.
#ifndef BR_TOOLS_STREAM_IO_H
#define BR_TOOLS_STREAM_IO_H

#include "tools/cli.h"

/** stream_write - a write() of struct br_send_params, onto stdout; -BR_E_CANCELLED */
int stream_write(void *ctx, const void *bytes, size_t len, struct br_err *reterr);
/** stream_read - a read() of struct br_receive_params, from stdin; -BR_E_CANCELLED */
int stream_read(void *ctx, void *bytes, size_t len, struct br_err *reterr);
/** stream_events - JSON goes where progress goes, since stdout carries the stream; -BR_E_USAGE it goes nowhere */
BR_MUST_CHECK int stream_events(struct cli *cli, struct br_err *reterr);

#endif
