// SPDX-License-Identifier: Apache-2.0
//
// The modules of the running kernel: which are installed, which are built in, which could be loaded. Read from what depmod and
// modprobe read (modules.dep(5), modprobe.d(5)); nothing is loaded.
#ifndef KMC_MODULES_H
#define KMC_MODULES_H

#include "kmod-compat/source.h"

enum kmc_module_state {
    KMC_MODULE_NONE,     // not installed
    KMC_MODULE_REFUSED,  // installed; loading it is forbidden
    KMC_MODULE_LOADABLE, // installed, not loaded
    KMC_MODULE_LOADED,   // loaded or built in
};

struct kmc_modules {
    const struct kmc_source *source;
    char folder[160];    // "/lib/modules/6.1.0-28-cloud-amd64"
    bool installed;      // the folder has an index
    bool can_load;       // the kernel takes modules
    char why_not[160];   // when it does not
    bool signed_only;    // it takes signed ones only
    char lockdown[24];   // "none", "integrity", "confidentiality", "" no lockdown in this kernel
    char *dep;           // modules.dep
    char *builtin;       // modules.builtin
    char *configuration; // every line of modprobe.d, one file behind the other
};

/**
 * kmc_modules_open - read the indexes of the kernel named @release
 * Owner: kmc_modules_close(); keeps @source    Allocates: at most 16 MiB
 * Never fails: what can't be read is not installed.
 */
void kmc_modules_open(const struct kmc_source *source, const char *release, struct kmc_modules *ret_modules);
/** kmc_modules_close - release the indexes */
void kmc_modules_close(struct kmc_modules *modules);

/**
 * kmc_module_state - what is known of one module
 * @module   with underscores, as in /sys/module: "dm_era"
 * @why      of REFUSED: what forbids it; else ""
 */
enum kmc_module_state kmc_module_state(const struct kmc_modules *modules, const char *module, char *why,
                                       size_t why_size);

#endif
