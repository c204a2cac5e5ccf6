// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/pass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/volume/volume.h"

#define PASS_RUN    "/run/blkrep"
#define PASS_FOLDER PASS_RUN "/passed"
#define PASS_UDEV   "/run/udev/control" // udevd is there
#define PASS_NAP_NS 20000000
#define PASS_TRIES  250 // for udev to make or remove the link

struct pass {
    char link[VOLUME_NAME_MAX + 16];
    char kernel[NAME_MAX + 1]; // the device's name in sysfs
    char note[sizeof(PASS_FOLDER) + NAME_MAX + 1];
    char node[PATH_MAX];
};

// The device's own names. A record whose device is gone has none: -BR_E_NOT_FOUND.
static int pass_names(const struct volume_record *record, struct pass *pass, struct br_err *reterr)
{
    if (!realpath(record->device, pass->node)) {
        return br_err_os(reterr, errno, "%s, the device of volume %s", record->device, record->name);
    }
    snprintf(pass->kernel, sizeof(pass->kernel), "%s", strrchr(pass->node, '/') + 1);
    snprintf(pass->link, sizeof(pass->link), "/dev/mapper/%s", record->name);
    snprintf(pass->note, sizeof(pass->note), PASS_FOLDER "/%s", pass->kernel);
    return 0;
}

// Is the device passed through under this name?
static bool pass_noted(const struct pass *pass, const char *name)
{
    char text[VOLUME_NAME_MAX + 32] = "";
    char wanted[VOLUME_NAME_MAX + 32];
    int fd = open(pass->note, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

    if (fd >= 0) {
        close(fd);
    }
    text[len > 0 ? len : 0] = 0;
    snprintf(wanted, sizeof(wanted), "BLKREP_PASSED=%s\n", name);
    return !strcmp(text, wanted);
}

static int pass_note(const struct pass *pass, const char *name, struct br_err *reterr)
{
    if ((mkdir(PASS_RUN, 0755) && errno != EEXIST) || (mkdir(PASS_FOLDER, 0755) && errno != EEXIST)) {
        return br_err_os(reterr, errno, "making the folder %s", PASS_FOLDER);
    }
    int fd = open(pass->note, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 || dprintf(fd, "BLKREP_PASSED=%s\n", name) < 0) {
        int error = br_err_os(reterr, errno, "writing %s", pass->note);
        if (fd >= 0) {
            close(fd);
        }
        return error;
    }
    close(fd);
    return 0;
}

// Lets udev look at the device again and waits until the link is there, or gone.
static void pass_tell_udev(const struct pass *pass, bool there)
{
    const struct timespec nap = {.tv_nsec = PASS_NAP_NS};
    char path[NAME_MAX + 64];

    snprintf(path, sizeof(path), "/sys/class/block/%s/uevent", pass->kernel);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    bool told = write(fd, "change", strlen("change")) > 0;
    close(fd);
    for (int i = 0; told && i < PASS_TRIES && !access(pass->link, F_OK) != there; i++) {
        nanosleep(&nap, NULL);
    }
}

int pass_on(const struct volume_record *record, struct br_err *reterr)
{
    struct pass pass;

    if (!strcmp(volume_top(record), "@device")) {
        return 0;
    }
    int error = pass_names(record, &pass, reterr);
    if (error || (pass_noted(&pass, record->name) && !access(pass.link, F_OK))) {
        return error;
    }
    if (!access(pass.link, F_OK)) {
        return br_err_set(reterr, BR_E_BUSY, "%s is there", pass.link);
    }
    error = pass_note(&pass, record->name, reterr);
    if (error) {
        return error;
    }
    if (!access(PASS_UDEV, F_OK)) {
        pass_tell_udev(&pass, true);
    }
    if (access(pass.link, F_OK) && symlink(pass.node, pass.link)) {
        return br_err_os(reterr, errno, "making the link %s", pass.link);
    }
    return 0;
}

bool pass_is_on(const struct volume_record *record)
{
    struct pass pass;
    struct br_err err;

    return !record->retabled && !pass_names(record, &pass, &err) && pass_noted(&pass, record->name);
}

int pass_off(const struct volume_record *record, struct br_err *reterr)
{
    struct pass pass;
    struct stat st;
    struct br_err err;

    // A device that is gone, or passed through under no name, leaves nothing to take back.
    if (!strcmp(volume_top(record), "@device") || pass_names(record, &pass, &err) || !pass_noted(&pass, record->name)) {
        return 0;
    }
    if (unlink(pass.note)) {
        return br_err_os(reterr, errno, "removing %s", pass.note);
    }
    if (!access(PASS_UDEV, F_OK)) {
        pass_tell_udev(&pass, false);
    }
    if (!lstat(pass.link, &st) && S_ISLNK(st.st_mode) && unlink(pass.link) && errno != ENOENT) {
        return br_err_os(reterr, errno, "removing the link %s", pass.link);
    }
    return 0;
}
