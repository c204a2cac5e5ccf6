// SPDX-License-Identifier: Apache-2.0
//
// blkrep send and receive with a repository at this end.
#ifndef BR_TOOLS_STREAM_REPOSITORY_H
#define BR_TOOLS_STREAM_REPOSITORY_H

#include "engine/sync/transfer.h"
#include "tools/cli.h"

/** stream_names_repository - is @word a repository, with or without a point? */
bool stream_names_repository(struct cli *cli, const char *word);
/** stream_send_point - send's first argument is REPO@POINT */
BR_MUST_CHECK int stream_send_point(struct cli *cli, struct br_err *reterr);
/** stream_receive_point - receive's argument is REPO */
BR_MUST_CHECK int stream_receive_point(struct cli *cli, struct br_err *reterr);
/** stream_receive_report - what a received stream was and became, into the exit object; @name: of the replica or the repository */
void stream_receive_report(struct cli *cli, const char *name, const struct br_receive_result *r);

#endif
