// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/find.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kmod-compat/device.h"

struct find_search {
    struct kmc_facts facts;
    struct kmc_devices devices;
};

static int find_describe(const char *path, struct br_guard_object *ret_object, struct br_err *reterr)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s", path);
    }
    int error = br_guard_describe(fd, path, ret_object, reterr);
    close(fd);
    return error;
}

// The only device with the record's WWID.
static int find_by_wwid(struct volume_record *record, struct br_err *reterr)
{
    struct find_search *search = calloc(1, sizeof(*search));
    size_t found = KMC_NO_DEVICE;
    char wwid[sizeof(record->wwid)];
    int error = 0;

    if (search) {
        kmc_facts_read(&kmc_running, &search->facts);
    }
    if (!search || !kmc_devices_read(&kmc_running, &search->facts, &search->devices)) {
        free(search);
        return br_err_set(reterr, BR_E_NOMEM, "the machine's devices");
    }
    for (size_t i = 0; !error && i < search->devices.count; i++) {
        const struct kmc_device *device = &search->devices.list[i];
        dev_t number = makedev(device->major_number, device->minor_number);
        struct stat st;
        if (!br_guard_wwid(number, wwid, sizeof(wwid)) || strcmp(wwid, record->wwid) != 0 ||
            stat(device->stable, &st) || st.st_rdev != number) {
            continue;
        }
        if (found != KMC_NO_DEVICE) {
            error = br_err_set(
                reterr, BR_E_REFUSED,
                "/dev/%s and /dev/%s both have the WWID of volume %s's device (%s): when they are paths to one "
                "disk, attach its multipath device",
                search->devices.list[found].name, device->name, record->name, record->wwid);
        }
        found = i;
    }
    if (!error && found == KMC_NO_DEVICE) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "no device has the WWID of volume %s's device (%s)", record->name,
                           record->wwid);
    }
    if (!error) {
        snprintf(record->device, sizeof(record->device), "%.255s", search->devices.list[found].stable);
    }
    kmc_devices_free(&search->devices);
    free(search);
    return error;
}

int find_device(struct cli *cli, struct volume_record *record, struct br_guard_object *ret_object,
                struct br_err *reterr)
{
    // Else it has only its name, or is a file's loop device.
    bool known = strncmp(record->wwid, "name-", 5) != 0 && strncmp(record->wwid, "loop-", 5) != 0;
    char before[VOLUME_WHERE_MAX];
    struct br_guard_object object;
    struct br_err err = {0};
    int error = find_describe(record->device, &object, reterr);

    if (!known || (!error && !strcmp(object.wwid, record->wwid))) {
        if (!error) {
            *ret_object = object;
        }
        return error;
    }
    memcpy(before, record->device, sizeof(before));
    int searched = find_by_wwid(record, &err);
    if (searched == -BR_E_NOT_FOUND && !error) {
        return br_err_set(
            reterr, BR_E_REFUSED,
            "%s is another disk now (%s) than the one of volume %s (%s), which is nowhere to be seen: put it "
            "back, or blkrep detach %s and attach the new one",
            before, object.wwid, record->name, record->wwid, record->name);
    }
    if (searched) {
        if (reterr) {
            *reterr = err;
        }
        return searched;
    }
    cli_warn(cli, "the device of volume %s was %s and is %s now; it was found by its WWID", record->name, before,
             record->device);
    error = find_describe(record->device, &object, reterr);
    if (!error && strcmp(object.wwid, record->wwid) != 0) {
        error = br_err_set(reterr, BR_E_REFUSED, "%s changed while it was looked at", record->device);
    }
    if (!error) {
        *ret_object = object;
    }
    return error;
}
