// SPDX-License-Identifier: Apache-2.0
#include "tools/remote.h"

int remote_open_endpoint(struct cli *cli, struct br_ring *ring, const struct place_address *address,
                         struct br_endpoint *ret_endpoint, struct br_err *reterr)
{
    (void)cli;
    (void)ring;
    (void)ret_endpoint;
    return br_err_set(reterr, BR_E_UNSUPPORTED, "%s: this build has no sessions yet", address->text);
}
