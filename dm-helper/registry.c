// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "engine/base/ini.h"

#define DMH_REGISTRATION     "registration"
#define DMH_REGISTRATION_NEW "registration.new"
#define DMH_REGISTRATION_MAX (64 * 1024)
#define DMH_LOCK_LOOK_MS     10

static int dmh_path_of(const char *variable, const char *otherwise, char path[PATH_MAX], struct br_err *reterr)
{
    const char *value = getenv(variable);

    if (snprintf(path, PATH_MAX, "%s", value && *value ? value : otherwise) >= PATH_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "%s is too long", variable);
    }
    return 0;
}

int dmh_registry_start(struct dmh_registry *registry, struct br_err *reterr)
{
    int error = dmh_path_of("BLKREP_STATE", DMH_STATE_PATH, registry->state_path, reterr);

    return error ? error : dmh_path_of("BLKREP_CONFIG", BR_INI_DEFAULT_PATH, registry->config_path, reterr);
}

// ---- folders ---------------------------------------------------------------------------------------------------------

// Nobody but its owner, who is root or runs this, may have written what an open descriptor refers to.
static int dmh_check_owner(int fd, const char *what, struct br_err *reterr)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return br_err_os(reterr, errno, "reading %s", what);
    }
    if ((st.st_uid && st.st_uid != geteuid()) || (st.st_mode & 022)) {
        return br_err_set(reterr, BR_E_PERMISSION, "%s must belong to root and be writable by nobody else", what);
    }
    return 0;
}

static int dmh_open_folder(int at, const char *name, bool make, int *ret_fd, struct br_err *reterr)
{
    if (make && mkdirat(at, name, 0700) && errno != EEXIST) {
        return br_err_os(reterr, errno, "making the folder %s", name);
    }
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return br_err_os(reterr, errno, "opening the folder %s", name);
    }
    int error = dmh_check_owner(fd, name, reterr);
    if (error) {
        close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

// STATE/volumes, or STATE/volumes/VOLUME
static int dmh_open_volumes(const struct dmh_registry *registry, const char *volume, bool make, int *ret_fd,
                            struct br_err *reterr)
{
    int state = -1, volumes = -1;
    int error = dmh_open_folder(AT_FDCWD, registry->state_path, make, &state, reterr);

    if (!error) {
        error = dmh_open_folder(state, "volumes", make, &volumes, reterr);
        close(state);
    }
    if (error || !volume) {
        *ret_fd = volumes;
        return error;
    }
    error = dmh_open_folder(volumes, volume, make, ret_fd, reterr);
    close(volumes);
    return error;
}

// ---- registrations ---------------------------------------------------------------------------------------------------

static int dmh_read_registration(int folder, const char *volume, struct dmh_volume *ret_volume, struct br_err *reterr)
{
    BR_AUTO_FREE char *text = malloc(DMH_REGISTRATION_MAX);
    int fd = openat(folder, DMH_REGISTRATION, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (!text || fd < 0) {
        int error = text ? br_err_os(reterr, errno, "opening the registration of volume %s", volume)
                         : br_err_set(reterr, BR_E_NOMEM, "reading the registration of volume %s", volume);
        if (fd >= 0) {
            close(fd);
        }
        return error;
    }
    int error = dmh_check_owner(fd, DMH_REGISTRATION, reterr);
    ssize_t len = error ? 0 : read(fd, text, DMH_REGISTRATION_MAX);
    if (len < 0) {
        error = br_err_os(reterr, errno, "reading the registration of volume %s", volume);
    }
    close(fd);
    error = error ? error : dmh_volume_parse(text, (size_t)len, ret_volume, reterr);
    if (!error && strcmp(ret_volume->volume, volume) != 0) {
        error = br_err_set(reterr, BR_E_CORRUPT, "it is the one of volume %s", ret_volume->volume);
    }
    return error ? br_err_prefix(reterr, "volume %s", volume), error : 0;
}

int dmh_registry_load(const struct dmh_registry *registry, const char *volume, struct dmh_volume *ret_volume,
                      struct br_err *reterr)
{
    struct br_err err = {0};
    int folder;

    if (!dmh_volume_name_ok(volume)) {
        return br_err_set(reterr, BR_E_USAGE, "a volume's name is up to 64 letters, digits and ._+-");
    }
    int error = dmh_open_volumes(registry, volume, false, &folder, &err);
    if (!error) {
        error = dmh_read_registration(folder, volume, ret_volume, &err);
        close(folder);
    }
    if (error == -BR_E_NOT_FOUND) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "volume %s is not registered", volume);
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error;
}

static int dmh_write_all(int fd, const struct br_buf *buf)
{
    size_t done = 0;

    while (done < buf->len) {
        ssize_t len = write(fd, buf->data + done, buf->len - done);
        if (len < 0 && errno != EINTR) {
            return -1;
        }
        done += len > 0 ? (size_t)len : 0;
    }
    return fsync(fd);
}

static int dmh_write_registration(int folder, const struct br_buf *text, struct br_err *reterr)
{
    int fd = openat(folder, DMH_REGISTRATION_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0) {
        return br_err_os(reterr, errno, "writing the registration");
    }
    bool failed = dmh_write_all(fd, text) != 0;
    int os_errno = errno;
    close(fd);
    if (!failed) {
        failed = renameat(folder, DMH_REGISTRATION_NEW, folder, DMH_REGISTRATION) || fsync(folder);
        os_errno = errno;
    }
    return failed ? br_err_os(reterr, os_errno, "writing the registration") : 0;
}

int dmh_registry_store(const struct dmh_registry *registry, const struct dmh_volume *volume, struct br_err *reterr)
{
    struct br_buf text = {0};
    int folder;
    int error = dmh_volume_check(volume, reterr);

    error = error ? error : dmh_open_volumes(registry, volume->volume, true, &folder, reterr);
    if (error) {
        return error;
    }
    dmh_volume_format(volume, &text);
    error = br_buf_failed(&text) ? br_err_set(reterr, BR_E_NOMEM, "writing the registration")
                                 : dmh_write_registration(folder, &text, reterr);
    br_buf_free(&text);
    close(folder);
    return error;
}

int dmh_registry_remove(const struct dmh_registry *registry, const char *volume, struct br_err *reterr)
{
    int folder;
    int error = dmh_open_volumes(registry, volume, false, &folder, reterr);

    if (error) {
        return error;
    }
    if (unlinkat(folder, DMH_REGISTRATION, 0) || fsync(folder)) {
        error = br_err_os(reterr, errno, "removing the registration of volume %s", volume);
    }
    close(folder);
    return error;
}

int dmh_registry_open(const struct dmh_registry *registry, const char *volume, const char *name, int flags, int *ret_fd,
                      struct br_err *reterr)
{
    int folder;
    int error = dmh_open_volumes(registry, volume, false, &folder, reterr);

    if (error) {
        return error;
    }
    int fd = openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        error = br_err_os(reterr, errno, "opening %s of volume %s", name, volume);
    } else {
        *ret_fd = fd;
    }
    close(folder);
    return error;
}

int dmh_registry_replace(const struct dmh_registry *registry, const char *volume, const char *from, const char *to,
                         struct br_err *reterr)
{
    int folder, fd = -1;
    int error = dmh_open_volumes(registry, volume, false, &folder, reterr);

    if (error) {
        return error;
    }
    fd = openat(folder, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fsync(fd) || renameat(folder, from, folder, to) || fsync(folder)) {
        error = br_err_os(reterr, errno, "writing %s of volume %s", to, volume);
    }
    if (fd >= 0) {
        close(fd);
    }
    close(folder);
    return error;
}

int dmh_registry_note(const struct dmh_registry *registry, const char *volume, const char *name, const char *text,
                      struct br_err *reterr)
{
    int folder;
    bool ok;
    int error = dmh_open_volumes(registry, volume, false, &folder, reterr);

    if (error) {
        return error;
    }
    if (text) {
        int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        size_t len = strlen(text);
        ok = fd >= 0 && write(fd, text, len) == (ssize_t)len && !fsync(fd) && !fsync(folder);
        if (fd >= 0) {
            close(fd);
        }
    } else {
        ok = (!unlinkat(folder, name, 0) || errno == ENOENT) && !fsync(folder);
    }
    if (!ok) {
        error = br_err_os(reterr, errno, "noting %s of volume %s", name, volume);
    }
    close(folder);
    return error;
}

int dmh_registry_noted(const struct dmh_registry *registry, const char *volume, const char *name, char *ret_text,
                       size_t size, struct br_err *reterr)
{
    int folder;
    int error = dmh_open_volumes(registry, volume, false, &folder, reterr);

    *ret_text = 0;
    if (error) {
        return error;
    }
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, ret_text, size - 1) : 0;
    if (len < 0 || (fd < 0 && errno != ENOENT)) {
        error = br_err_os(reterr, errno, "reading %s of volume %s", name, volume);
    }
    ret_text[len > 0 ? len : 0] = 0;
    if (fd >= 0) {
        close(fd);
    }
    close(folder);
    return error;
}

void dmh_registry_each(const struct dmh_registry *registry, bool (*each)(void *user, const struct dmh_volume *volume),
                       void *user)
{
    BR_AUTO_FREE struct dmh_volume *volume = calloc(1, sizeof(*volume));
    const struct dirent *entry;
    int volumes;
    DIR *dir;

    if (!volume || dmh_open_volumes(registry, NULL, false, &volumes, NULL)) {
        return;
    }
    dir = fdopendir(volumes);
    if (!dir) {
        close(volumes);
        return;
    }
    while ((entry = readdir(dir))) {
        if (!dmh_registry_load(registry, entry->d_name, volume, NULL) && !each(user, volume)) {
            break;
        }
    }
    closedir(dir);
}

struct dmh_owner_search {
    const char *dm_uuid;
    char *volume;
};

static bool dmh_try_owner(void *user, const struct dmh_volume *volume)
{
    const struct dmh_owner_search *search = user;
    char prefix[DMH_DM_UUID_MAX];

    dmh_dm_uuid_of(volume, "", prefix);
    if (strncmp(search->dm_uuid, prefix, strlen(prefix)) != 0) {
        return true;
    }
    snprintf(search->volume, DMH_VOLUME_MAX, "%s", volume->volume);
    return false;
}

void dmh_registry_owner(const struct dmh_registry *registry, const char *dm_uuid, char ret_volume[DMH_VOLUME_MAX])
{
    struct dmh_owner_search search = {.dm_uuid = dm_uuid, .volume = ret_volume};

    *ret_volume = 0;
    dmh_registry_each(registry, dmh_try_owner, &search);
}

// ---- the configuration -----------------------------------------------------------------------------------------------

struct dmh_wanted_path {
    const char *section;
    const char *name;
    char *path;
};

static int dmh_on_entry(void *user, const struct br_ini_entry *entry, struct br_err *reterr)
{
    const struct dmh_wanted_path *wanted = user;

    if (strcmp(entry->section, wanted->section) != 0 || strcmp(entry->name, wanted->name) != 0 ||
        strcmp(entry->key, "path") != 0) {
        return 0;
    }
    if (!dmh_path_ok(entry->value)) {
        return br_err_set(reterr, BR_E_CONFIG, "path = %s is not an absolute path", entry->value);
    }
    snprintf(wanted->path, DMH_WHERE_MAX, "%s", entry->value);
    return 0;
}

int dmh_registry_configured(const struct dmh_registry *registry, const char *section, const char *name,
                            char ret_path[DMH_WHERE_MAX], struct br_err *reterr)
{
    char path[DMH_WHERE_MAX] = "";
    struct dmh_wanted_path wanted = {.section = section, .name = name, .path = path};
    int error = br_ini_load(registry->config_path, dmh_on_entry, &wanted, reterr);

    if (error && error != -BR_E_NOT_FOUND) {
        return error;
    }
    if (!*path) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "the configuration %s gives %s %s no path", registry->config_path,
                          section, name);
    }
    memcpy(ret_path, path, sizeof(path));
    return 0;
}

// ---- locks -----------------------------------------------------------------------------------------------------------

int dmh_registry_lock(const char *volume, unsigned wait_ms, int *ret_fd, struct br_err *reterr)
{
    char path[sizeof(DMH_RUN_PATH) + DMH_VOLUME_MAX + 16];

    if (mkdir(DMH_RUN_PATH, 0755) && errno != EEXIST) {
        return br_err_os(reterr, errno, "making the folder %s", DMH_RUN_PATH);
    }
    snprintf(path, sizeof(path), "%s/volume-%s.lock", DMH_RUN_PATH, volume);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s", path);
    }
    for (unsigned ms = 0; flock(fd, LOCK_EX | LOCK_NB); ms += DMH_LOCK_LOOK_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            int error = br_err_os(reterr, errno, "locking %s", path);
            close(fd);
            return error;
        }
        if (ms >= wait_ms) {
            close(fd);
            return br_err_set(reterr, BR_E_BUSY, "volume %s: another connection changes it", volume);
        }
        dmh_process_sleep_ms(DMH_LOCK_LOOK_MS);
    }
    *ret_fd = fd;
    return 0;
}
