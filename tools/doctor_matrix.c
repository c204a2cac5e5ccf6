// SPDX-License-Identifier: Apache-2.0
//
// kmod-compat's table as documents: the README's section and a part of blkrep-doctor(1). tests/cli/doctor-matrix-is-the-same-everywhere.sh
// compares the copies.
#include <stdio.h>

#include "tools/doctor.h"
#include "tools/man_page.h"

void doctor_matrix(const struct cli *cli)
{
    char needs[256];
    char since[16];

    cli_print(cli, "| | what one has with it | needs | kernel | Debian 6.1 | Debian 6.12 | without it |");
    cli_print(cli, "|---|---|---|---|---|---|---|");
    for (int i = 0; i < KMC_FEATURE_MAX; i++) {
        const struct kmc_row *row = &kmc_matrix[i];
        kmc_needs_text(i, needs, sizeof(needs));
        kmc_since_text(i, since, sizeof(since));
        cli_print(cli, "| %s | %s | %s | %s | %s | %s | %s |", kmc_feature_name(i), row->what, needs, since,
                  row->debian_6_1 ? "yes" : "no", row->debian_6_12 ? "yes" : "no", row->without);
    }
}

void doctor_manual(void)
{
    char needs[256];
    char since[16];
    char text[1200];

    man_section("SUPPORT MATRIX");
    man_text(
        "What blkrep can do with a kernel, what that needs, and what is done without it. The stock kernels 6.1 and 6.12 of "
        "Debian are tested with each release; others from the version given on should do.");
    for (int i = 0; i < KMC_FEATURE_MAX; i++) {
        const struct kmc_row *row = &kmc_matrix[i];
        int used;
        kmc_needs_text(i, needs, sizeof(needs));
        kmc_since_text(i, since, sizeof(since));
        used = snprintf(text, sizeof(text), "%s. Needs %s; kernel %s; Debian 6.1 %s, Debian 6.12 %s.", row->what, needs,
                        since, row->debian_6_1 ? "yes" : "no", row->debian_6_12 ? "yes" : "no");
        if (row->bad_why) {
            used += snprintf(text + used, sizeof(text) - (size_t)used, " Refused before %u.%u: %s.", row->bad_before[0],
                             row->bad_before[1], row->bad_why);
        }
        snprintf(text + used, sizeof(text) - (size_t)used, " Without it: %s. To get it: %s.", row->without, row->get);
        man_item(kmc_feature_name(i), "", text);
    }
    man_section("FACTS");
    man_text("What the field machine.facts of the JSON object has:");
    for (int i = 0; i < KMC_BIT_MAX; i++) {
        snprintf(text, sizeof(text), "%s.", kmc_bit_text(i));
        man_item(kmc_bit_name(i), "", text);
    }
}
