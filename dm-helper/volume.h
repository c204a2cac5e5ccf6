// SPDX-License-Identifier: Apache-2.0
//
// What a volume is to the helper: its registration, and what a `where` of a request means by it. This is where authority is decided, from
// text alone and without touching a device: a place that dmh_where_resolve() does not return is not touched.
//
// A registration is STATE/volumes/NAME/registration, lines of text that a person can read:
//
//     blkrep-registration 1
//     volume db
//     uuid 0f2c...-...
//     device /dev/disk/by-id/wwn-0x5000...
//     wwid wwid-naa.5000...
//     place device /dev/disk/by-id/nvme-...-part3
//     place file /var/lib/blkrep-cow/db
//     place vg data
//     end
//
// It is written whole, under another name, and renamed; one without its last line is refused as damaged.
#ifndef DMH_VOLUME_H
#define DMH_VOLUME_H

#include "dm-helper/request.h"
#include "engine/base/bytes.h"
#include "engine/base/err.h"

enum dmh_where_kind {
    DMH_WHERE_PART = 1,        // one of blkrep's own device-mapper devices
    DMH_WHERE_DEVICE = 2,      // what the volume protects
    DMH_WHERE_POOL = 4,        // its thin pool
    DMH_WHERE_POOL_META = 8,   // the metadata device of that
    DMH_WHERE_LVM = 16,        // a logical volume of blkrep's own
    DMH_WHERE_BLOCK = 32,      // a registered block device for stores
    DMH_WHERE_FILE = 64,       // a registered file for stores
    DMH_WHERE_LVM_STORE = 128, // the store of a snapshot that is a logical volume of blkrep's own
    DMH_WHERE_NBD = 256,       // an NBD device that blkrep serves
    DMH_WHERE_UBLK = 512,      // a ublk device that blkrep serves
};

// What a `where` names.
struct dmh_where {
    uint32_t kind;
    char part[DMH_PART_MAX];       // of PART, LVM, LVM_STORE, NBD and UBLK
    char dm_name[DMH_DM_NAME_MAX]; // of PART
    char dm_uuid[DMH_DM_UUID_MAX]; // of PART; of NBD the same, as its backend identifier
    char vg[DMH_DM_NAME_MAX];      // of LVM and LVM_STORE
    char path[DMH_WHERE_MAX];      // of DEVICE, BLOCK, FILE, LVM and LVM_STORE
};

/** dmh_volume_name_ok, dmh_part_ok, dmh_vg_ok, dmh_path_ok - may this text be one (see request.h)? */
bool dmh_volume_name_ok(const char *name);
bool dmh_part_ok(const char *part);
bool dmh_vg_ok(const char *vg);
bool dmh_path_ok(const char *path);

/** dmh_volume_check - is a registration well formed? -BR_E_USAGE says what is not */
BR_MUST_CHECK int dmh_volume_check(const struct dmh_volume *volume, struct br_err *reterr);
/** dmh_volume_format - append the registration's text; the caller asks br_buf_failed() */
void dmh_volume_format(const struct dmh_volume *volume, struct br_buf *out);
/** dmh_volume_parse - read it back; -BR_E_CORRUPT names the line */
BR_MUST_CHECK int dmh_volume_parse(const char *text, size_t len, struct dmh_volume *ret_volume, struct br_err *reterr);

/** dmh_dm_uuid_of - the device-mapper uuid of a part; "" for a part asks for what all of the volume's begin with */
void dmh_dm_uuid_of(const struct dmh_volume *volume, const char *part, char uuid[DMH_DM_UUID_MAX]);
/** dmh_dm_name_of - the device-mapper name of a part */
void dmh_dm_name_of(const struct dmh_volume *volume, const char *part, char name[DMH_DM_NAME_MAX]);
/** dmh_lv_name_of - the name of blkrep's own logical volume for a part */
void dmh_lv_name_of(const struct dmh_volume *volume, const char *part, char name[DMH_DM_NAME_MAX]);
/** dmh_dm_uuid_is_ours - does a device-mapper uuid say that blkrep made the device? *ret_part points to the part in it; NULL is fine */
bool dmh_dm_uuid_is_ours(const char *dm_uuid, const char **ret_part);

/**
 * dmh_where_resolve - what a request's `where` names, if the registration gives it and the request may use that kind
 * @kinds      enum dmh_where_kind, or'ed
 * @device_vg  the volume group that the volume's device lies in, "" when in none or not known
 * Errors: -BR_E_PERMISSION the registration does not name it; -BR_E_USAGE it is no `where`, or of a kind that the request does not take
 */
BR_MUST_CHECK int dmh_where_resolve(const struct dmh_volume *volume, const char *where, uint32_t kinds,
                                    const char *device_vg, struct dmh_where *ret_where, struct br_err *reterr);

#endif
