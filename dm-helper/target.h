// SPDX-License-Identifier: Apache-2.0
//
// Targets between the typed structs of request.h and the text that the kernel speaks. Pure: no device is touched here.
//
// The texts are those of the kernel's Documentation/admin-guide/device-mapper/{linear,era,snapshot,thin-provisioning,zero}.rst; lines as
// 6.1 and 6.12 print them are in tests/unit/test_target.c.
#ifndef DMH_TARGET_H
#define DMH_TARGET_H

#include "dm-helper/request.h"
#include "engine/base/err.h"

#define DMH_SECTOR_BYTES UINT64_C(512)

/**
 * dmh_table_check - is a table from a client one that the kernel can be given?
 * Starts follow each other without a gap, everything is whole sectors, kinds have what they need and nothing else.
 * Errors: -BR_E_USAGE names the target and what is wrong
 */
BR_MUST_CHECK int dmh_table_check(const struct dmh_table *table, struct br_err *reterr);
/**
 * dmh_target_params - the text that a target is loaded with
 * @target         checked by dmh_table_check()
 * @device, @store what its members of that name stand for, as MAJOR:MINOR; "" where it has none
 * Errors: -BR_E_USAGE it does not fit
 */
BR_MUST_CHECK int dmh_target_params(const struct dmh_target *target, const char *device, const char *store,
                                    char *params, size_t params_size, struct br_err *reterr);
/** dmh_target_type - the kernel's name of a kind that can be loaded; NULL for the others */
const char *dmh_target_type(uint32_t kind);
/** dmh_target_kind_of - the kind of a kernel's name; DMH_TARGET_OTHER for what this program does not know */
uint32_t dmh_target_kind_of(const char *type);
/** dmh_row_parse - one line of a table as the kernel prints it */
void dmh_row_parse(const char *type, uint64_t start_sectors, uint64_t length_sectors, const char *params,
                   struct dmh_target_row *ret_row);
/** dmh_status_parse - one line of a status */
void dmh_status_parse(const char *type, uint64_t start_sectors, uint64_t length_sectors, const char *params,
                      struct dmh_target_status *ret_status);

#endif
