// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/volume.h"

#include <ctype.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/base/uuid.h"

#define DMH_UUID_PREFIX "BLKREP-"
#define DMH_TITLE       "blkrep-registration 1"

static const char *const dmh_place_words[] = {
    [DMH_PLACE_DEVICE] = "device",
    [DMH_PLACE_FILE] = "file",
    [DMH_PLACE_VG] = "vg",
};

// ---- names -----------------------------------------------------------------------------------------------------------

static bool dmh_text_of(const char *text, const char *also, bool capitals)
{
    for (const char *c = text; *c; c++) {
        bool known = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || strchr(also, *c);
        if (!known && !(capitals && *c >= 'A' && *c <= 'Z')) {
            return false;
        }
    }
    return *text != 0;
}

bool dmh_volume_name_ok(const char *name)
{
    return strnlen(name, DMH_VOLUME_MAX) < DMH_VOLUME_MAX && dmh_text_of(name, "._+-", true) && *name != '.' &&
           *name != '-';
}

bool dmh_part_ok(const char *part)
{
    return strnlen(part, DMH_PART_MAX) < DMH_PART_MAX && dmh_text_of(part, ".-", false) && *part != '.' && *part != '-';
}

bool dmh_vg_ok(const char *vg)
{
    return strnlen(vg, DMH_DM_NAME_MAX) < DMH_DM_NAME_MAX && dmh_text_of(vg, "._+-", true) && *vg != '.' && *vg != '-';
}

// Lines hold paths to their end, so a path must not hold one; control characters would only deceive who reads it.
bool dmh_path_ok(const char *path)
{
    if (*path != '/' || strnlen(path, DMH_WHERE_MAX) >= DMH_WHERE_MAX) {
        return false;
    }
    for (const char *c = path; *c; c++) {
        if (iscntrl((unsigned char)*c)) {
            return false;
        }
    }
    return true;
}

int dmh_volume_check(const struct dmh_volume *volume, struct br_err *reterr)
{
    struct br_uuid uuid;
    char quoted[128];

    if (!dmh_volume_name_ok(volume->volume)) {
        br_quote(volume->volume, quoted, sizeof(quoted));
        return br_err_set(
            reterr, BR_E_USAGE,
            "%s can't name an attached volume: up to 64 letters, digits and ._+-, not beginning with . or -", quoted);
    }
    if (!br_uuid_parse(volume->uuid, &uuid) || br_uuid_is_nil(&uuid)) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s: its uuid is not one", volume->volume);
    }
    if (!dmh_path_ok(volume->device)) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s: its device must be an absolute path", volume->volume);
    }
    if (strpbrk(volume->wwid, "\n ")) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s: its device's WWID is not one word", volume->volume);
    }
    if (volume->place_count > DMH_PLACES_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s: more than %d places", volume->volume, DMH_PLACES_MAX);
    }
    for (uint32_t i = 0; i < volume->place_count; i++) {
        const struct dmh_place *place = &volume->places[i];
        bool known = place->kind >= DMH_PLACE_DEVICE && place->kind <= DMH_PLACE_VG;
        if (!known || !(place->kind == DMH_PLACE_VG ? dmh_vg_ok(place->path) : dmh_path_ok(place->path))) {
            br_quote(place->path, quoted, sizeof(quoted));
            return br_err_set(reterr, BR_E_USAGE, "volume %s: %s is no place for its stores", volume->volume, quoted);
        }
        if (!strcmp(place->path, volume->device)) {
            return br_err_set(reterr, BR_E_USAGE, "volume %s: its own device %s can't be a place for its stores",
                              volume->volume, place->path);
        }
    }
    return 0;
}

// ---- the registration's text ---------------------------------------------------------------------------------------

void dmh_volume_format(const struct dmh_volume *volume, struct br_buf *out)
{
    br_buf_printf(out, "%s\nvolume %s\nuuid %s\ndevice %s\n", DMH_TITLE, volume->volume, volume->uuid, volume->device);
    if (*volume->wwid) {
        br_buf_printf(out, "wwid %s\n", volume->wwid);
    }
    for (uint32_t i = 0; i < volume->place_count; i++) {
        br_buf_printf(out, "place %s %s\n", dmh_place_words[volume->places[i].kind], volume->places[i].path);
    }
    br_buf_printf(out, "end\n");
}

// Takes "word rest" apart; false when the line does not begin with that word.
static bool dmh_line_is(const char *line, const char *word, const char **ret_rest)
{
    size_t len = strlen(word);

    if (strncmp(line, word, len) != 0 || line[len] != ' ') {
        return false;
    }
    *ret_rest = line + len + 1;
    return true;
}

static bool dmh_take_text(char *to, size_t size, const char *from)
{
    bool fits = !*to && strlen(from) < size;

    if (fits) {
        memcpy(to, from, strlen(from) + 1);
    }
    return fits;
}

static bool dmh_take_place(struct dmh_volume *volume, const char *rest)
{
    for (uint32_t kind = DMH_PLACE_DEVICE; kind <= DMH_PLACE_VG; kind++) {
        const char *path;
        if (dmh_line_is(rest, dmh_place_words[kind], &path) && volume->place_count < DMH_PLACES_MAX) {
            struct dmh_place *place = &volume->places[volume->place_count++];
            place->kind = kind;
            return dmh_take_text(place->path, sizeof(place->path), path);
        }
    }
    return false;
}

static bool dmh_take_line(struct dmh_volume *volume, const char *line)
{
    const char *rest;

    if (dmh_line_is(line, "volume", &rest)) {
        return dmh_take_text(volume->volume, sizeof(volume->volume), rest);
    }
    if (dmh_line_is(line, "uuid", &rest)) {
        return dmh_take_text(volume->uuid, sizeof(volume->uuid), rest);
    }
    if (dmh_line_is(line, "device", &rest)) {
        return dmh_take_text(volume->device, sizeof(volume->device), rest);
    }
    if (dmh_line_is(line, "wwid", &rest)) {
        return dmh_take_text(volume->wwid, sizeof(volume->wwid), rest);
    }
    return dmh_line_is(line, "place", &rest) && dmh_take_place(volume, rest);
}

int dmh_volume_parse(const char *text, size_t len, struct dmh_volume *ret_volume, struct br_err *reterr)
{
    BR_AUTO_FREE struct dmh_volume *volume = calloc(1, sizeof(*volume));
    const char *end = text + len;
    bool ended = false;
    char line[DMH_WHERE_MAX + 32];

    if (!volume) {
        return br_err_set(reterr, BR_E_NOMEM, "reading a registration");
    }
    for (int number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t line_len = stop ? (size_t)(stop - text) : 0;
        bool ok = stop && line_len < sizeof(line) && !memchr(text, 0, line_len) && !ended;
        if (ok) {
            memcpy(line, text, line_len);
            line[line_len] = 0;
            ended = !strcmp(line, "end");
            ok = number == 1 ? !strcmp(line, DMH_TITLE) : ended || dmh_take_line(volume, line);
        }
        if (!ok) {
            return br_err_set(reterr, BR_E_CORRUPT, "a registration's line %d is damaged", number);
        }
        text = stop + 1;
    }
    if (!ended || dmh_volume_check(volume, NULL)) {
        return br_err_set(reterr, BR_E_CORRUPT, "a registration is not complete");
    }
    *ret_volume = *volume;
    return 0;
}

// ---- names of parts --------------------------------------------------------------------------------------------------

void dmh_dm_uuid_of(const struct dmh_volume *volume, const char *part, char uuid[DMH_DM_UUID_MAX])
{
    size_t at = strlen(DMH_UUID_PREFIX);

    memcpy(uuid, DMH_UUID_PREFIX, at);
    for (const char *c = volume->uuid; *c; c++) {
        if (*c != '-') {
            uuid[at++] = *c;
        }
    }
    snprintf(uuid + at, DMH_DM_UUID_MAX - at, "-%s", part);
}

void dmh_dm_name_of(const struct dmh_volume *volume, const char *part, char name[DMH_DM_NAME_MAX])
{
    if (!strcmp(part, "top")) {
        snprintf(name, DMH_DM_NAME_MAX, "%s", volume->volume);
    } else {
        snprintf(name, DMH_DM_NAME_MAX, "%s-%s", volume->volume, part);
    }
}

void dmh_lv_name_of(const struct dmh_volume *volume, const char *part, char name[DMH_DM_NAME_MAX])
{
    snprintf(name, DMH_DM_NAME_MAX, "blkrep-%s-%s", volume->volume, part);
}

bool dmh_dm_uuid_is_ours(const char *dm_uuid, const char **ret_part)
{
    const size_t prefix_len = strlen(DMH_UUID_PREFIX);
    const char *part;

    if (strncmp(dm_uuid, DMH_UUID_PREFIX, prefix_len) != 0) {
        return false;
    }
    part = dm_uuid + prefix_len;
    if (strspn(part, "0123456789abcdef") != 2 * BR_UUID_BYTES || part[2 * BR_UUID_BYTES] != '-') {
        return false;
    }
    part += 2 * BR_UUID_BYTES + 1;
    if (ret_part) {
        *ret_part = part;
    }
    return dmh_part_ok(part);
}

// ---- what a request names --------------------------------------------------------------------------------------------

static bool dmh_has_place(const struct dmh_volume *volume, const char *path, uint32_t kind)
{
    for (uint32_t i = 0; i < volume->place_count; i++) {
        if (volume->places[i].kind == kind && !strcmp(volume->places[i].path, path)) {
            return true;
        }
    }
    return false;
}

static int dmh_resolve_path(const struct dmh_volume *volume, const char *path, struct dmh_where *where,
                            struct br_err *reterr)
{
    char quoted[300];

    if (!strcmp(path, volume->device)) {
        where->kind = DMH_WHERE_DEVICE;
    } else if (dmh_has_place(volume, path, DMH_PLACE_DEVICE)) {
        where->kind = DMH_WHERE_BLOCK;
    } else if (dmh_has_place(volume, path, DMH_PLACE_FILE)) {
        where->kind = DMH_WHERE_FILE;
    } else {
        br_quote(path, quoted, sizeof(quoted));
        return br_err_set(reterr, BR_E_PERMISSION, "volume %s does not name %s", volume->volume, quoted);
    }
    snprintf(where->path, sizeof(where->path), "%s", path);
    return 0;
}

// "lvm:VG/PART"
static int dmh_resolve_lvm(const struct dmh_volume *volume, const char *rest, const char *device_vg,
                           struct dmh_where *where, struct br_err *reterr)
{
    const char *slash = strchr(rest, '/');
    char lv[DMH_DM_NAME_MAX];

    if (!slash || (size_t)(slash - rest) >= sizeof(where->vg) || !dmh_part_ok(slash + 1)) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s: a logical volume is named lvm:VG/PART", volume->volume);
    }
    memcpy(where->vg, rest, (size_t)(slash - rest));
    if (!dmh_vg_ok(where->vg) ||
        (strcmp(where->vg, device_vg) != 0 && !dmh_has_place(volume, where->vg, DMH_PLACE_VG))) {
        char quoted[DMH_DM_NAME_MAX * 4];
        br_quote(where->vg, quoted, sizeof(quoted));
        return br_err_set(reterr, BR_E_PERMISSION, "volume %s does not name the volume group %s", volume->volume,
                          quoted);
    }
    where->kind = DMH_WHERE_LVM;
    snprintf(where->part, sizeof(where->part), "%s", slash + 1);
    dmh_lv_name_of(volume, where->part, lv);
    if ((size_t)snprintf(where->path, sizeof(where->path), "/dev/%s/%s", where->vg, lv) >= sizeof(where->path)) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s: %s/%s is too long", volume->volume, where->vg, lv);
    }
    return 0;
}

static int dmh_resolve_kind(const struct dmh_volume *volume, const char *text, const char *device_vg,
                            struct dmh_where *where, struct br_err *reterr)
{
    char quoted[300];

    if (*text == '/') {
        return dmh_resolve_path(volume, text, where, reterr);
    }
    if (!strncmp(text, "lvm:", 4)) {
        return dmh_resolve_lvm(volume, text + 4, device_vg, where, reterr);
    }
    if (!strncmp(text, "lvm-store:", 10)) {
        int error = dmh_resolve_lvm(volume, text + 10, device_vg, where, reterr);
        where->kind = DMH_WHERE_LVM_STORE;
        return error;
    }
    if (!strncmp(text, "nbd:", 4) && dmh_part_ok(text + 4)) {
        where->kind = DMH_WHERE_NBD;
        snprintf(where->part, sizeof(where->part), "%s", text + 4);
        dmh_dm_uuid_of(volume, text + 4, where->dm_uuid);
        return 0;
    }
    if (!strncmp(text, "ublk:", 5) && dmh_part_ok(text + 5) && strlen(text + 5) < DMH_UBLK_PART_MAX) {
        where->kind = DMH_WHERE_UBLK;
        snprintf(where->part, sizeof(where->part), "%s", text + 5);
        return 0;
    }
    if (!strcmp(text, "@device") || !strcmp(text, "@pool") || !strcmp(text, "@pool-meta")) {
        where->kind = text[1] == 'd' ? DMH_WHERE_DEVICE : text[5] ? DMH_WHERE_POOL_META : DMH_WHERE_POOL;
        snprintf(where->path, sizeof(where->path), "%s", volume->device);
        return 0;
    }
    if (dmh_part_ok(text)) {
        where->kind = DMH_WHERE_PART;
        snprintf(where->part, sizeof(where->part), "%s", text);
        dmh_dm_name_of(volume, text, where->dm_name);
        dmh_dm_uuid_of(volume, text, where->dm_uuid);
        return 0;
    }
    br_quote(text, quoted, sizeof(quoted));
    return br_err_set(reterr, BR_E_USAGE, "volume %s: %s names no place", volume->volume, quoted);
}

int dmh_where_resolve(const struct dmh_volume *volume, const char *where, uint32_t kinds, const char *device_vg,
                      struct dmh_where *ret_where, struct br_err *reterr)
{
    struct dmh_where found = {0};
    int error = dmh_resolve_kind(volume, where, device_vg, &found, reterr);

    if (error) {
        return error;
    }
    if (!(found.kind & kinds)) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s: %s is not what this request is for", volume->volume, where);
    }
    *ret_where = found;
    return 0;
}
