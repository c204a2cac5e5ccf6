// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/base/bytes.h"

// Blanks, tabs, line ends and backslashes in a path are written as \ooo.
static void dmh_unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        bool octal = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
                     from[3] >= '0' && from[3] <= '7';
        if (octal) {
            *to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 3;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
}

// id parent MAJOR:MINOR root POINT options [optional...] - TYPE SOURCE options
bool dmh_mount_parse(char *line, struct dmh_mount *ret_mount)
{
    struct dmh_mount mount = {0};
    char *save = NULL, *numbers = NULL, *point = NULL;
    char *dash = strstr(line, " - ");
    int field = 0;

    if (!dash) {
        return false;
    }
    *dash = 0;
    for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save), field++) {
        numbers = field == 2 ? word : numbers;
        point = field == 4 ? word : point;
    }
    char *type = strtok_r(dash + 3, " ", &save);
    char *source = strtok_r(NULL, " ", &save);
    if (!point || !source || sscanf(numbers, "%u:%u", &mount.major, &mount.minor) != 2) {
        return false;
    }
    dmh_unescape(point);
    dmh_unescape(source);
    mount.point = point;
    mount.type = type;
    mount.source = source;
    *ret_mount = mount;
    return true;
}

bool dmh_mount_is_on(const struct dmh_mount *mount, uint32_t major, uint32_t minor)
{
    struct stat st;

    if (mount->major) {
        return mount->major == major && mount->minor == minor;
    }
    return *mount->source == '/' && !stat(mount->source, &st) && S_ISBLK(st.st_mode) &&
           st.st_rdev == makedev(major, minor);
}

// What is mounted over it hides a mount point: then this opens another filesystem.
static int dmh_open_point(const struct dmh_mount *mount)
{
    int fd = open(mount->point, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd >= 0 && (fstat(fd, &st) || (mount->major && st.st_dev != makedev(mount->major, mount->minor)))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void dmh_mounts_open(uint32_t major, uint32_t minor, bool *ret_mounted, int *ret_fd)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    BR_AUTO_FREE char *line = NULL;
    size_t size = 0;

    *ret_mounted = false;
    *ret_fd = -1;
    while (file && *ret_fd < 0 && getline(&line, &size, file) > 0) {
        struct dmh_mount mount;
        line[strcspn(line, "\n")] = 0;
        if (dmh_mount_parse(line, &mount) && dmh_mount_is_on(&mount, major, minor)) {
            *ret_mounted = true;
            *ret_fd = dmh_open_point(&mount);
        }
    }
    if (file) {
        fclose(file);
    }
}

static bool dmh_mount_device(const struct dmh_mount *mount, uint32_t *ret_major, uint32_t *ret_minor)
{
    struct stat st;

    *ret_major = mount->major;
    *ret_minor = mount->minor;
    if (mount->major) {
        return true;
    }
    if (*mount->source != '/' || stat(mount->source, &st) || !S_ISBLK(st.st_mode)) {
        return false;
    }
    *ret_major = major(st.st_rdev);
    *ret_minor = minor(st.st_rdev);
    return true;
}

int dmh_mounts_at(const char *point, uint32_t *ret_major, uint32_t *ret_minor, int *ret_fd, struct br_err *reterr)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    BR_AUTO_FREE char *line = NULL;
    size_t size = 0;
    bool found = false, on_device = false;
    int fd = -1;

    // The last line for a point is the one that is seen.
    while (file && getline(&line, &size, file) > 0) {
        struct dmh_mount mount;
        line[strcspn(line, "\n")] = 0;
        if (dmh_mount_parse(line, &mount) && !strcmp(mount.point, point)) {
            if (fd >= 0) {
                close(fd);
            }
            found = true;
            on_device = dmh_mount_device(&mount, ret_major, ret_minor);
            fd = on_device ? dmh_open_point(&mount) : -1;
        }
    }
    if (file) {
        fclose(file);
    }
    if (!found) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "nothing is mounted at %s", point);
    }
    if (fd < 0) {
        return br_err_set(reterr, BR_E_REFUSED, "%s can't be opened, or its filesystem lies on no block device", point);
    }
    *ret_fd = fd;
    return 0;
}

int dmh_mounts_device(int fd, uint32_t *ret_major, uint32_t *ret_minor, struct br_err *reterr)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return br_err_os(reterr, errno, "looking at a file");
    }
    if (!major(st.st_dev)) {
        return br_err_set(
            reterr, BR_E_REFUSED,
            "its filesystem does not lie on one block device of its own (btrfs, overlayfs, tmpfs, a network)");
    }
    *ret_major = major(st.st_dev);
    *ret_minor = minor(st.st_dev);
    return 0;
}
