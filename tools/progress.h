// SPDX-License-Identifier: Apache-2.0
//
// Progress for people (one line on a terminal's stderr: durable bytes, rate, time left) and for programs (--progress=FD: NDJSON; --json:
// events on stdout). Positions are what was dealt with; "durable" is what would survive a power cut now, never what was merely issued.
#ifndef BR_TOOLS_PROGRESS_H
#define BR_TOOLS_PROGRESS_H

#include "engine/sync/sync.h"
#include "tools/cli.h"

struct progress {
    struct cli *cli;
    int fd;        // --progress=FD, -1 none
    bool terminal; // stderr is one
    bool shown;
    uint64_t rate_position; // of the sample that the rate is taken from
    uint64_t rate_ns;
    double bytes_per_second; // smoothed
    const char *phase;
};

struct progress_sample {
    const char *phase;
    uint64_t position_bytes;
    uint64_t size_bytes; // 0 not known
    uint64_t durable_bytes;
    uint64_t resumed_bytes; // not shipped, because they were before; 0 where there is no such thing
    uint64_t shipped_bytes;
    uint64_t elapsed_ns;
};

extern const struct cli_field progress_fields[]; // of each line, for blkrep(1)

/** progress_begin - reads --progress; -BR_E_USAGE when FD is not open for writing */
BR_MUST_CHECK int progress_begin(struct progress *progress, struct cli *cli, struct br_err *reterr);
/** progress_show - one sample */
void progress_show(struct progress *progress, const struct progress_sample *sample);
/** progress_show_sync - one sample of a sync or a backup */
void progress_show_sync(struct progress *progress, const struct br_sync_progress *at);
/** progress_end - clears the terminal's line */
void progress_end(struct progress *progress);

#endif
