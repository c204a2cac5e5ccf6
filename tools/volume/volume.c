// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/guard/guard.h"
#include "engine/net/registry.h"
#include "tools/audit.h"

#define VOLUME_RECORD      DMH_RECORD_NAME
#define VOLUME_RECORD_NEW  DMH_RECORD_NEW_NAME
#define VOLUME_LOCK        DMH_RECORD_LOCK
#define VOLUME_RECORD_MAX  (256 * 1024)
#define VOLUME_LOCK_TRIES  600
#define VOLUME_LOCK_NAP_NS 100000000

// Names -------------------------------------------------------------------------------------------------------------------------------

struct dmh_ref volume_ref(const struct volume *volume, const char *where)
{
    struct dmh_ref ref = {0};

    bool store = !strncmp(where, "cow.", 4);

    snprintf(ref.volume, sizeof(ref.volume), "%s", volume->record.name);
    if (volume_is_lvm(&volume->record) && (store || !strncmp(where, "snap.", 5))) {
        snprintf(ref.where, sizeof(ref.where), "%s:%.127s/snap%s", store ? "lvm-store" : "lvm",
                 volume->record.area.path, strchr(where, '.'));
    } else {
        snprintf(ref.where, sizeof(ref.where), "%s", where);
    }
    return ref;
}

void volume_part(char *ret_part, const char *kind, uint32_t number)
{
    snprintf(ret_part, DMH_PART_MAX, "%.12s.%u", kind, number);
}

bool volume_is_lvm(const struct volume_record *record)
{
    return record->tracker == VOLUME_THIN || record->tracker == VOLUME_LVM_COW;
}

const char *volume_base(const struct volume_record *record)
{
    return record->tracker == VOLUME_ERA ? "era" : "real";
}

const char *volume_top(const struct volume_record *record)
{
    return record->retabled || volume_is_lvm(record) ? "@device" : "top";
}

void volume_top_path(const struct volume_record *record, char *ret_path, size_t size)
{
    if (record->retabled || volume_is_lvm(record)) {
        snprintf(ret_path, size, "%s", record->device);
    } else {
        snprintf(ret_path, size, "/dev/mapper/%s", record->name);
    }
}

uint64_t volume_now_unix_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * BR_NS_PER_S + (uint64_t)now.tv_nsec;
}

struct br_uuid volume_new_uuid(void)
{
    uint8_t random[BR_UUID_BYTES];

    // Never short for so few bytes; without randomness there is no id worth having.
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        abort();
    }
    return br_uuid_make(random);
}

void volume_break_chain(struct volume *volume, const char *why)
{
    struct br_uuid chain = volume_new_uuid();
    json_t *details = json_object();
    struct br_err err;

    volume_record_break(&volume->record, &chain, why, volume_now_unix_ns());
    json_object_set_new(details, "reason", json_string(why));
    json_object_set_new(details, "tracker", json_string(volume_tracker_name(volume->record.tracker)));
    if (audit_append(volume->cli, "tracking-lost", volume->record.name, details, &err)) {
        cli_warn(volume->cli, "the audit line could not be written: %s", err.text);
    }
}

// The record --------------------------------------------------------------------------------------------------------------------------

// Takes what @fd holds, and closes it.
static int volume_read_fd(int fd, const char *name, struct volume_record *record, struct br_err *reterr)
{
    BR_AUTO_FREE char *text = malloc(VOLUME_RECORD_MAX);
    ssize_t len = text ? read(fd, text, VOLUME_RECORD_MAX) : -1;
    int os_errno = errno;
    close(fd);
    if (len < 0) {
        return br_err_os(reterr, os_errno, "reading the record of volume %s", name);
    }
    int error = volume_record_decode(text, (size_t)len, record, reterr);
    if (!error && strcmp(record->name, name) != 0) {
        error = br_err_set(reterr, BR_E_CORRUPT, "the record is volume %s's", record->name);
    }
    if (error) {
        br_err_prefix(reterr, "volume %s", name);
    }
    return error ? error : 1;
}

// Returns 1 when there is a record, 0 when not.
static int volume_read(int dir_fd, const char *name, struct volume_record *record, struct br_err *reterr)
{
    int fd = openat(dir_fd, VOLUME_RECORD, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        return errno == ENOENT ? 0 : br_err_os(reterr, errno, "opening the record of volume %s", name);
    }
    return volume_read_fd(fd, name, record, reterr);
}

static int volume_read_by_helper(struct dmh_client *helper, const char *name, struct volume_record *record,
                                 struct br_err *reterr)
{
    struct br_err err = {0};
    int fd;
    int error = dmh_record_open(helper, name, DMH_RECORD_READ, &fd, &err);

    if (error == -BR_E_NOT_FOUND) {
        return 0;
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error ? error : volume_read_fd(fd, name, record, reterr);
}

static int volume_read_own(struct volume *volume, struct volume_record *record, struct br_err *reterr)
{
    return volume->by_helper ? volume_read_by_helper(volume->helper, volume->record.name, record, reterr)
                             : volume_read(volume->dir_fd, volume->record.name, record, reterr);
}

static int volume_save_by_helper(struct volume *volume, struct br_err *reterr)
{
    BR_AUTO_FREE char *text = volume_record_encode(&volume->record);
    size_t len = text ? strlen(text) : 0;
    int fd;
    int error = text ? dmh_record_open(volume->helper, volume->record.name, DMH_RECORD_NEW, &fd, reterr)
                     : br_err_set(reterr, BR_E_NOMEM, "the record of volume %s", volume->record.name);

    if (error) {
        return error;
    }
    errno = ENOSPC; // what a short write means
    if (write(fd, text, len) != (ssize_t)len) {
        error = br_err_os(reterr, errno, "writing the record of volume %s", volume->record.name);
    }
    close(fd);
    return error ? error : dmh_record_keep(volume->helper, volume->record.name, reterr);
}

int volume_save(struct volume *volume, struct br_err *reterr)
{
    if (volume->by_helper) {
        return volume_save_by_helper(volume, reterr);
    }
    BR_AUTO_FREE char *text = volume_record_encode(&volume->record);
    size_t len = text ? strlen(text) : 0;
    int fd = -1;
    bool ok = false;

    if (text) {
        fd = openat(volume->dir_fd, VOLUME_RECORD_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        errno = fd >= 0 ? ENOSPC : errno; // what a short write means
        ok = fd >= 0 && write(fd, text, len) == (ssize_t)len && !fsync(fd) &&
             !renameat(volume->dir_fd, VOLUME_RECORD_NEW, volume->dir_fd, VOLUME_RECORD) && !fsync(volume->dir_fd);
    } else {
        errno = ENOMEM;
    }
    int os_errno = errno;
    if (fd >= 0) {
        close(fd);
    }
    volume->exists = volume->exists || ok;
    return ok ? 0 : br_err_os(reterr, os_errno, "writing the record of volume %s", volume->record.name);
}

// The folder and the lock; one in which something of the user's lies stays.
static void volume_remove_folder(struct volume *volume, const char *name)
{
    char path[PATH_MAX];
    struct br_err err;

    unlinkat(volume->dir_fd, VOLUME_RECORD_NEW, 0);
    unlinkat(volume->dir_fd, VOLUME_LOCK, 0);
    if (!place_state_path(volume->cli, path, &err)) {
        size_t used = strlen(path);
        snprintf(path + used, sizeof(path) - used, "/volumes/%s", name);
        rmdir(path);
    }
}

// What a removal that was killed left: a folder without a record, that nobody has the lock of.
static void volume_clear_remains(struct volume *volume, const char *name)
{
    int fd = openat(volume->dir_fd, VOLUME_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if ((fd < 0 || !flock(fd, LOCK_EX | LOCK_NB)) && faccessat(volume->dir_fd, VOLUME_RECORD, F_OK, 0)) {
        volume_remove_folder(volume, name);
    }
    if (fd >= 0) {
        close(fd);
    }
}

// Opening -----------------------------------------------------------------------------------------------------------------------------

static int volume_folder(struct cli *cli, const char *name, bool make, int *ret_fd, struct br_err *reterr)
{
    char leaf[VOLUME_NAME_MAX + 16];
    char path[PATH_MAX];

    if (!br_volume_name_ok(name)) {
        return br_err_set(reterr, BR_E_USAGE, "a volume's name is 1 to 64 letters, digits, _ and -");
    }
    snprintf(leaf, sizeof(leaf), "volumes/%s", name);
    if (make) {
        return place_state_dir(cli, leaf, ret_fd, reterr);
    }
    int error = place_state_path(cli, path, reterr);
    if (error) {
        return error;
    }
    size_t used = strlen(path);
    snprintf(path + used, sizeof(path) - used, "/%s", leaf);
    *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0 && errno == ENOENT) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "no volume %s is attached", name);
    }
    return *ret_fd < 0 ? br_err_os(reterr, errno, "opening %s", path) : 0;
}

int volume_open_record(struct cli *cli, const char *name, bool make, struct volume *ret_volume, struct br_err *reterr)
{
    struct volume *volume = ret_volume;

    *volume = (struct volume){.cli = cli, .dir_fd = -1, .lock_fd = -1};
    int error = volume_folder(cli, name, make, &volume->dir_fd, reterr);
    if (error) {
        return error;
    }
    int found = volume_read(volume->dir_fd, name, &volume->record, reterr);
    if (found < 0) {
        return found;
    }
    volume->exists = found > 0;
    if (!found && !make) {
        volume_clear_remains(volume, name);
        return br_err_set(reterr, BR_E_NOT_FOUND, "no volume %s is attached", name);
    }
    snprintf(volume->record.name, sizeof(volume->record.name), "%s", name);
    return 0;
}

// A volume of the system's, for a member of the group.
static int volume_open_by_helper(struct cli *cli, const char *name, struct volume *ret_volume, struct br_err *reterr)
{
    struct volume *volume = ret_volume;

    *volume = (struct volume){.cli = cli, .by_helper = true, .dir_fd = -1, .lock_fd = -1};
    snprintf(volume->record.name, sizeof(volume->record.name), "%s", name);
    int error = dmh_client_open(NULL, &volume->helper, reterr);
    int found = error ? error : volume_read_own(volume, &volume->record, reterr);
    volume->exists = found > 0;
    return found ? (found < 0 ? found : 0) : br_err_set(reterr, BR_E_NOT_FOUND, "no volume %s is attached", name);
}

int volume_open(struct cli *cli, const char *name, bool make, struct volume *ret_volume, struct br_err *reterr)
{
    struct br_err err = {0};
    int error = volume_open_record(cli, name, make && !geteuid(), ret_volume, &err);

    if (error == -BR_E_NOT_FOUND && geteuid()) {
        volume_close(ret_volume);
        return make ? br_err_set(reterr, BR_E_PERMISSION, "attaching a device takes root")
                    : volume_open_by_helper(cli, name, ret_volume, reterr);
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error ? error : dmh_client_open(NULL, &ret_volume->helper, reterr);
}

int volume_beside(struct volume *of, const char *name, struct volume *ret_other, struct br_err *reterr)
{
    struct volume *other = ret_other;
    struct br_err err = {0};

    *other = (struct volume){.cli = of->cli, .dir_fd = -1, .lock_fd = -1};
    if (!br_volume_name_ok(name)) {
        return 0;
    }
    if (of->by_helper) {
        *other = (struct volume){
            .cli = of->cli, .by_helper = true, .lent = true, .helper = of->helper, .dir_fd = -1, .lock_fd = -1};
        snprintf(other->record.name, sizeof(other->record.name), "%s", name);
        int found = volume_read_own(other, &other->record, reterr);
        other->exists = found > 0;
        return found;
    }
    int error = volume_open_record(of->cli, name, false, other, &err);
    if (error && error != -BR_E_NOT_FOUND && reterr) {
        *reterr = err;
    }
    return error == -BR_E_NOT_FOUND ? 0 : error ? error : 1;
}

void volume_close(struct volume *volume)
{
    volume_unlock(volume);
    if (!volume->lent) {
        dmh_client_close(volume->helper);
    }
    volume->helper = NULL;
    if (volume->dir_fd >= 0) {
        close(volume->dir_fd);
    }
    volume->dir_fd = -1;
}

static int volume_lock_within(struct volume *volume, int tries, struct br_err *reterr)
{
    const struct timespec nap = {.tv_nsec = VOLUME_LOCK_NAP_NS};
    int fd = -1;

    if (volume->by_helper) {
        int error = dmh_record_open(volume->helper, volume->record.name, DMH_RECORD_HOLD, &fd, reterr);
        if (error) {
            return error;
        }
    } else {
        fd = openat(volume->dir_fd, VOLUME_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (fd < 0) {
        return br_err_os(reterr, errno, "locking volume %s", volume->record.name);
    }
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
        if (errno != EWOULDBLOCK || i == tries || cli_cancel) {
            close(fd);
            return br_err_set(reterr, BR_E_BUSY, "another blkrep changes the stack of volume %s", volume->record.name);
        }
        nanosleep(&nap, NULL);
    }
    volume->lock_fd = fd;
    int found = volume_read_own(volume, &volume->record, reterr);
    if (found < 0 || (!found && volume->exists)) {
        volume_unlock(volume);
        return found < 0 ? found
                         : br_err_set(reterr, BR_E_NOT_FOUND, "volume %s was detached meanwhile", volume->record.name);
    }
    volume->exists = found > 0;
    return 0;
}

int volume_lock(struct volume *volume, struct br_err *reterr)
{
    return volume_lock_within(volume, VOLUME_LOCK_TRIES, reterr);
}

int volume_try_lock(struct volume *volume, struct br_err *reterr)
{
    return volume_lock_within(volume, 0, reterr);
}

void volume_unlock(struct volume *volume)
{
    if (volume->lock_fd >= 0) {
        close(volume->lock_fd);
        volume->lock_fd = -1;
    }
}

int volume_remove(struct volume *volume, struct br_err *reterr)
{
    if ((unlinkat(volume->dir_fd, VOLUME_RECORD, 0) && errno != ENOENT) || fsync(volume->dir_fd)) {
        return br_err_os(reterr, errno, "removing the record of volume %s", volume->record.name);
    }
    volume->exists = false;
    volume_remove_folder(volume, volume->record.name);
    return 0;
}

// Finding -----------------------------------------------------------------------------------------------------------------------------

static int volume_compare_names(const void *a, const void *b)
{
    return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

static void volume_sort(json_t *names)
{
    size_t count = json_array_size(names);
    BR_AUTO_FREE json_t **all = calloc(count + 1, sizeof(*all));

    for (size_t i = 0; all && i < count; i++) {
        all[i] = json_incref(json_array_get(names, i));
    }
    if (all) {
        qsort(all, count, sizeof(*all), volume_compare_names);
    }
    for (size_t i = 0; all && i < count; i++) {
        json_array_set_new(names, i, all[i]);
    }
}

// Adds the names of the system's volumes.
static int volume_list_by_helper(struct dmh_client *helper, json_t *names, struct br_err *reterr)
{
    struct dmh_volumes *volumes = calloc(1, sizeof(*volumes));
    int error = volumes ? dmh_volumes(helper, volumes, reterr) : br_err_set(reterr, BR_E_NOMEM, "the list of volumes");

    for (uint32_t i = 0; !error && i < volumes->volume_count; i++) {
        json_array_append_new(names, json_string(volumes->volumes[i].volume));
    }
    if (!error && volumes->total_count > volumes->volume_count) {
        error = br_err_set(reterr, BR_E_LIMIT, "there are more than %u volumes", volumes->volume_count);
    }
    free(volumes);
    return error;
}

int volume_list_beside(struct volume *of, json_t **ret_names, struct br_err *reterr)
{
    if (!of->by_helper) {
        return volume_list(of->cli, ret_names, reterr);
    }
    json_t *names = json_array();
    int error = volume_list_by_helper(of->helper, names, reterr);
    if (error) {
        json_decref(names);
        return error;
    }
    volume_sort(names);
    *ret_names = names;
    return 0;
}

int volume_list(struct cli *cli, json_t **ret_names, struct br_err *reterr)
{
    char path[PATH_MAX];
    char record[PATH_MAX + 300];
    struct dirent *entry;
    json_t *names = json_array();
    int error = place_state_path(cli, path, reterr);

    if (error) {
        json_decref(names);
        return error;
    }
    size_t used = strlen(path);
    snprintf(path + used, sizeof(path) - used, "/volumes");
    DIR *dir = opendir(path);
    if (!dir && errno != ENOENT) {
        json_decref(names);
        return br_err_os(reterr, errno, "reading %s", path);
    }
    while (dir && (entry = readdir(dir))) {
        snprintf(record, sizeof(record), "%s/%s/" VOLUME_RECORD, path, entry->d_name);
        if (br_volume_name_ok(entry->d_name) && !access(record, F_OK)) {
            json_array_append_new(names, json_string(entry->d_name));
        }
    }
    if (dir) {
        closedir(dir);
    }
    struct dmh_client *helper = NULL;
    struct br_err err;
    if (geteuid() && !dmh_client_open(NULL, &helper, &err) && volume_list_by_helper(helper, names, &err)) {
        cli_warn(cli, "the list of volumes is not whole: %s", err.text);
    }
    dmh_client_close(helper); // without the service there are none
    volume_sort(names);
    *ret_names = names;
    return 0;
}

// Of the system's volumes, for a member of the group: by name, by /dev/mapper/NAME, by the device's path. Their devices he may not open.
static int volume_find_by_helper(const char *word, char *ret_name, struct br_err *reterr)
{
    struct dmh_client *helper = NULL;
    struct dmh_volumes *volumes = calloc(1, sizeof(*volumes));
    struct volume_record *record = calloc(1, sizeof(*record));
    int error = volumes && record ? dmh_client_open(NULL, &helper, reterr)
                                  : br_err_set(reterr, BR_E_NOMEM, "the volumes of this host");
    int found = 0;

    error = error ? error : dmh_volumes(helper, volumes, reterr);
    for (uint32_t i = 0; !error && !found && i < volumes->volume_count; i++) {
        const char *name = volumes->volumes[i].volume;
        char top[VOLUME_WHERE_MAX + 16];
        struct br_err err;
        found = !strcmp(word, name);
        if (!found && *word == '/' && volume_read_by_helper(helper, name, record, &err) > 0) {
            volume_top_path(record, top, sizeof(top));
            found = !strcmp(word, record->device) || !strcmp(word, top);
        }
        if (found) {
            snprintf(ret_name, VOLUME_NAME_MAX, "%.64s", name);
        }
    }
    dmh_client_close(helper);
    free(volumes);
    free(record);
    return error ? error : found;
}

// Does the object that @word leads to belong to the volume of this record?
static bool volume_is_of(const struct volume_record *record, const struct br_guard_object *object)
{
    char uuid[BR_UUID_TEXT_BYTES];
    char top[64];
    size_t used = (size_t)snprintf(top, sizeof(top), "dm-BLKREP-");

    br_uuid_text(&record->volume, uuid);
    for (const char *c = uuid; *c; c++) {
        if (*c != '-') {
            top[used++] = *c;
        }
    }
    snprintf(top + used, sizeof(top) - used, "-top");
    return !strcmp(object->wwid, record->wwid) || !strcmp(object->wwid, top);
}

static int volume_find_object(struct cli *cli, const struct br_guard_object *object, char *ret_name,
                              struct br_err *reterr)
{
    json_t *names;
    size_t i;
    json_t *name;
    int found = volume_list(cli, &names, reterr);

    if (found < 0) {
        return found;
    }
    json_array_foreach(names, i, name)
    {
        struct volume_record *record = calloc(1, sizeof(*record));
        int dir_fd = -1;
        found = record ? volume_folder(cli, json_string_value(name), false, &dir_fd, reterr)
                       : br_err_set(reterr, BR_E_NOMEM, "the record of a volume");
        found = found < 0 ? found : volume_read(dir_fd, json_string_value(name), record, reterr);
        found = found > 0 ? volume_is_of(record, object) : found;
        free(record);
        if (dir_fd >= 0) {
            close(dir_fd);
        }
        if (found) {
            snprintf(ret_name, VOLUME_NAME_MAX, "%s", json_string_value(name));
            break;
        }
    }
    json_decref(names);
    return found;
}

int volume_find(struct cli *cli, const char *word, char *ret_name, struct br_err *reterr)
{
    struct br_guard_object object;
    struct br_err err;
    int dir_fd;

    if (br_volume_name_ok(word) && !volume_folder(cli, word, false, &dir_fd, &err)) {
        bool there = !faccessat(dir_fd, VOLUME_RECORD, F_OK, 0);
        close(dir_fd);
        snprintf(ret_name, VOLUME_NAME_MAX, "%s", word);
        if (there) {
            return 1;
        }
    }
    struct stat st;
    bool there = !stat(word, &st);
    if (geteuid() && (there ? S_ISBLK(st.st_mode) : br_volume_name_ok(word))) {
        int found = volume_find_by_helper(word, ret_name, &err);
        // Without the service, or for a device that he may open himself, it is as if there were none.
        if (found > 0 || (found == -BR_E_PERMISSION && !there)) {
            return found > 0 ? found : br_err_set(reterr, BR_E_PERMISSION, "%s is no file, and %.200s", word, err.text);
        }
    }
    if (!there || !S_ISBLK(st.st_mode)) {
        return 0;
    }
    int fd = open(word, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return 0; // whoever opens it tells why
    }
    int error = br_guard_describe(fd, word, &object, &err);
    close(fd);
    return error ? 0 : volume_find_object(cli, &object, ret_name, reterr);
}
