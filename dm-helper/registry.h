// SPDX-License-Identifier: Apache-2.0
//
// What the helper may touch, as it stands on disk: the registrations below STATE/volumes and the paths that the configuration names. Both
// are read anew for each request, so that a change counts at once. Both must belong to root (or to the user who runs the helper) and be
// writable by nobody else, from the state folder down.
#ifndef DMH_REGISTRY_H
#define DMH_REGISTRY_H

#include <limits.h>

#include "dm-helper/volume.h"

#define DMH_STATE_PATH "/var/lib/blkrep"
#define DMH_RUN_PATH   "/run/blkrep"

struct dmh_registry {
    char state_path[PATH_MAX];
    char config_path[PATH_MAX];
};

/** dmh_registry_start - take both places from $BLKREP_STATE and $BLKREP_CONFIG, or their defaults; -BR_E_USAGE one is too long */
BR_MUST_CHECK int dmh_registry_start(struct dmh_registry *registry, struct br_err *reterr);
/** dmh_registry_load - a volume's registration; -BR_E_NOT_FOUND, -BR_E_PERMISSION others may write it, -BR_E_CORRUPT */
BR_MUST_CHECK int dmh_registry_load(const struct dmh_registry *registry, const char *volume,
                                    struct dmh_volume *ret_volume, struct br_err *reterr);
/** dmh_registry_store - write it; durable on return */
BR_MUST_CHECK int dmh_registry_store(const struct dmh_registry *registry, const struct dmh_volume *volume,
                                     struct br_err *reterr);
/** dmh_registry_remove - remove the registration; other files of the volume's folder stay */
BR_MUST_CHECK int dmh_registry_remove(const struct dmh_registry *registry, const char *volume, struct br_err *reterr);
/** dmh_registry_each - tell of every readable registration, until @each returns false */
void dmh_registry_each(const struct dmh_registry *registry, bool (*each)(void *user, const struct dmh_volume *volume),
                       void *user);
/** dmh_registry_owner - the volume to which a device with such a uuid belongs (volume.h, dmh_dm_uuid_of()); "" none that is registered */
void dmh_registry_owner(const struct dmh_registry *registry, const char *dm_uuid, char ret_volume[DMH_VOLUME_MAX]);
/** dmh_registry_configured - the path that `[section name]` of the configuration gives; -BR_E_NOT_FOUND, and errors of br_ini_load() */
BR_MUST_CHECK int dmh_registry_configured(const struct dmh_registry *registry, const char *section, const char *name,
                                          char ret_path[DMH_WHERE_MAX], struct br_err *reterr);
/** dmh_registry_open - a file of a volume's folder, by flags of open(2), made 0600 */
BR_MUST_CHECK int dmh_registry_open(const struct dmh_registry *registry, const char *volume, const char *name,
                                    int flags, int *ret_fd, struct br_err *reterr);
/** dmh_registry_replace - rename @from, made durable first, over @to; durable on return */
BR_MUST_CHECK int dmh_registry_replace(const struct dmh_registry *registry, const char *volume, const char *from,
                                       const char *to, struct br_err *reterr);
/**
 * dmh_registry_note - keep a line of text beside a volume's registration over crashes and boots, for whoever cleans up after them
 * @name  of the file     @text  NULL: remove it
 * Durable: yes
 */
BR_MUST_CHECK int dmh_registry_note(const struct dmh_registry *registry, const char *volume, const char *name,
                                    const char *text, struct br_err *reterr);
/** dmh_registry_noted - read it back; "" when there is none */
BR_MUST_CHECK int dmh_registry_noted(const struct dmh_registry *registry, const char *volume, const char *name,
                                     char *ret_text, size_t size, struct br_err *reterr);
/**
 * dmh_registry_lock - the lock of a volume, held while the descriptor is open in any process
 * Waits up to @wait_ms. Errors: -BR_E_BUSY another connection, or a window that can't end yet, has it
 */
BR_MUST_CHECK int dmh_registry_lock(const char *volume, unsigned wait_ms, int *ret_fd, struct br_err *reterr);

#endif
