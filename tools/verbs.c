// SPDX-License-Identifier: Apache-2.0
//
// The verbs, in the order of the manual. A new verb is one line here and one file cmd_VERB.c.
#include "tools/verbs.h"

const struct cli_verb *const cli_verbs[] = {
#define X(name) &cmd_##name,
    CLI_VERBS(X)
#undef X
        NULL,
};
