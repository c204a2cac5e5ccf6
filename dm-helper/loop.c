// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dm-helper/device.h"

#define DMH_LOOP_TRIES 16

// -EBUSY: somebody else took it since it was named free.
static int dmh_loop_configure(int number, int file_fd, uint32_t *ret_major, uint32_t *ret_minor)
{
    struct loop_config config = {.fd = (uint32_t)file_fd,
                                 .info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
                                 .info.lo_file_name = "blkrep"};
    char path[32];
    struct stat st;

    snprintf(path, sizeof(path), "/dev/loop%d", number);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return -errno;
    }
    if (ioctl(fd, LOOP_CONFIGURE, &config) || fstat(fd, &st)) {
        int failed = errno;
        close(fd);
        return -failed;
    }
    *ret_major = major(st.st_rdev);
    *ret_minor = minor(st.st_rdev);
    return fd;
}

int dmh_loop_make(int file_fd, uint32_t *ret_major, uint32_t *ret_minor, int *ret_fd, struct br_err *reterr)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int fd = -EBUSY;

    if (control < 0) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "this kernel's loop driver can't be used: %s", strerror(errno));
    }
    for (int i = 0; i < DMH_LOOP_TRIES && fd == -EBUSY; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        fd = number < 0 ? -errno : dmh_loop_configure(number, file_fd, ret_major, ret_minor);
    }
    close(control);
    if (fd < 0) {
        return fd == -EBUSY ? br_err_set(reterr, BR_E_BUSY, "no loop device stayed free")
                            : br_err_os(reterr, -fd, "making a loop device");
    }
    *ret_fd = fd;
    return 0;
}

bool dmh_loop_file(uint32_t major, uint32_t minor, dev_t *ret_device, ino_t *ret_inode)
{
    struct loop_info64 info;
    int fd;

    if (major != LOOP_MAJOR || dmh_device_open(major, minor, O_RDONLY, &fd, NULL)) {
        return false;
    }
    bool ok = !ioctl(fd, LOOP_GET_STATUS64, &info);
    close(fd);
    if (ok) {
        *ret_device = (dev_t)info.lo_device;
        *ret_inode = (ino_t)info.lo_inode;
    }
    return ok;
}

int dmh_loop_grow(uint32_t major, uint32_t minor, struct br_err *reterr)
{
    int fd;
    int error = dmh_device_open(major, minor, O_RDONLY, &fd, reterr);

    if (error) {
        return error;
    }
    if (ioctl(fd, LOOP_SET_CAPACITY)) {
        error = br_err_os(reterr, errno, "growing a loop device");
    }
    close(fd);
    return error;
}
