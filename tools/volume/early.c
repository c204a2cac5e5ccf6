// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/early.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define EARLY_RUN    "/run/blkrep"
#define EARLY_FOLDER EARLY_RUN "/early"
#define EARLY_SCHEMA "blkrep.early/1"
#define EARLY_MAX    4096

static void early_path(const struct volume_record *record, char path[sizeof(EARLY_FOLDER) + VOLUME_NAME_MAX + 8])
{
    snprintf(path, sizeof(EARLY_FOLDER) + VOLUME_NAME_MAX + 8, EARLY_FOLDER "/%s.json", record->name);
}

static char *early_encode(const struct volume_record *record, const struct continuity_now *now)
{
    char volume[BR_UUID_TEXT_BYTES];
    json_t *object = json_object();

    br_uuid_text(&record->volume, volume);
    json_object_set_new(object, "schema", json_string(EARLY_SCHEMA));
    json_object_set_new(object, "volume", json_string(volume));
    json_object_set_new(object, "boot_id", json_string(now->boot_id));
    json_object_set_new(object, "wwid", json_string(now->wwid));
    json_object_set_new(object, "size_bytes", json_integer((json_int_t)now->size_bytes));
    json_object_set_new(object, "evidence", json_string(now->evidence));
    json_object_set_new(object, "superblock", json_string(now->superblock));
    json_object_set_new(object, "lost", json_string(now->lost));
    char *text = json_dumps(object, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(object);
    return text;
}

int early_save(const struct volume_record *record, const struct continuity_now *now, struct br_err *reterr)
{
    char path[sizeof(EARLY_FOLDER) + VOLUME_NAME_MAX + 8];
    BR_AUTO_FREE char *text = early_encode(record, now);
    size_t len = text ? strlen(text) : 0;

    early_path(record, path);
    if (!text) {
        return br_err_set(reterr, BR_E_NOMEM, "writing %s", path);
    }
    if ((mkdir(EARLY_RUN, 0755) && errno != EEXIST) || (mkdir(EARLY_FOLDER, 0700) && errno != EEXIST)) {
        return br_err_os(reterr, errno, "making the folder %s", EARLY_FOLDER);
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t written = fd >= 0 ? write(fd, text, len) : -1;
    int os_errno = written < 0 ? errno : ENOSPC;
    if (fd >= 0) {
        close(fd);
    }
    return written == (ssize_t)len ? 0 : br_err_os(reterr, os_errno, "writing %s", path);
}

static bool early_text(const json_t *object, const char *name, char *ret_text, size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text && snprintf(ret_text, size, "%s", text) < (int)size;
}

static int early_decode(const json_t *object, const struct volume_record *record, struct continuity_now *now,
                        struct br_err *reterr)
{
    char schema[sizeof(EARLY_SCHEMA)] = "";
    char volume[BR_UUID_TEXT_BYTES];
    char boot_id[VOLUME_BOOT_ID_BYTES];
    struct br_uuid uuid;
    const json_t *size = json_object_get(object, "size_bytes");

    if (!early_text(object, "schema", schema, sizeof(schema)) || strcmp(schema, EARLY_SCHEMA) != 0 ||
        !early_text(object, "volume", volume, sizeof(volume)) || !br_uuid_parse(volume, &uuid) ||
        !early_text(object, "boot_id", boot_id, sizeof(boot_id)) ||
        !early_text(object, "wwid", now->wwid, sizeof(now->wwid)) ||
        !early_text(object, "evidence", now->evidence, sizeof(now->evidence)) ||
        !early_text(object, "superblock", now->superblock, sizeof(now->superblock)) ||
        !early_text(object, "lost", now->lost, sizeof(now->lost)) || !json_is_integer(size)) {
        return br_err_set(reterr, BR_E_CORRUPT, "what the early boot left of volume %s is damaged", record->name);
    }
    now->size_bytes = (uint64_t)json_integer_value(size);
    continuity_system(record, now);
    return br_uuid_equal(&uuid, &record->volume) && !strcmp(boot_id, now->boot_id);
}

int early_load(const struct volume_record *record, struct continuity_now *ret_now, struct br_err *reterr)
{
    char path[sizeof(EARLY_FOLDER) + VOLUME_NAME_MAX + 8];
    struct continuity_now now = {0};
    char text[EARLY_MAX];

    early_path(record, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? 0 : br_err_os(reterr, errno, "opening %s", path);
    }
    ssize_t len = read(fd, text, sizeof(text));
    int os_errno = errno;
    close(fd);
    if (len < 0) {
        return br_err_os(reterr, os_errno, "reading %s", path);
    }
    json_t *object = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
    int found = early_decode(object, record, &now, reterr);
    json_decref(object);
    if (found > 0) {
        *ret_now = now;
    }
    return found;
}
