// SPDX-License-Identifier: Apache-2.0
//
// A PostgreSQL server over a data folder that is thrown away afterwards, for one dump: no TCP, a socket in a private folder, no setting of the
// data folder's own that could run a program or reach what is outside.
#ifndef BR_TOOLS_FILES_POSTGRESQL_H
#define BR_TOOLS_FILES_POSTGRESQL_H

#include "tools/cli.h"

struct postgresql_params {
    const char *root;     // where the file system is mounted
    const char *path;     // of the data folder in it
    const char *run_dir;  // an empty folder of ours, for the socket
    const char *database; // NULL all of them
    const char *user;     // who dumps
    const char *bin;      // folder of the server's programs; NULL /usr/lib/postgresql/VERSION/bin
    unsigned limit_ms;    // for the start, which replays the log
};

/**
 * postgresql_dump - start, dump to standard output, stop
 * @ret_version  of the data folder, "15"; 16 bytes
 * Errors: -BR_E_NOT_FOUND no data folder there; -BR_E_UNSUPPORTED tablespaces or a log outside of it, programs of that version are not here;
 * -BR_E_HOOK what one of them said, on stderr
 */
BR_MUST_CHECK int postgresql_dump(const struct postgresql_params *params, char *ret_version, struct br_err *reterr);

#endif
