// SPDX-License-Identifier: Apache-2.0
//
// What the verbs about trust share: this host's identity out of the state folder, and names of clients as people see them.
#ifndef BR_TOOLS_TRUST_H
#define BR_TOOLS_TRUST_H

#include "engine/net/registry.h"
#include "tools/cli.h"

// This host's side of every connection.
struct trust {
    int state_fd;
    struct br_keys *keys;
};

/** trust_open - the state folder and the identity in it, both made when missing */
BR_MUST_CHECK int trust_open(struct cli *cli, struct trust *ret_trust, struct br_err *reterr);
/** trust_close - also of one that was never opened (zeroed, state_fd -1) */
void trust_close(struct trust *trust);
/** trust_client_json - an entry of the registry for JSON and audit lines */
json_t *trust_client_json(const struct br_client *client);
/** trust_volumes_text - "all", or the names */
const char *trust_volumes_text(const char *volumes);

#endif
