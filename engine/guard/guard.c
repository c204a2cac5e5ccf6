// SPDX-License-Identifier: Apache-2.0
//
// Objects are compared by numbers (st_dev, st_ino, st_rdev), never by path. A "family" is a device and everything that shares bytes with
// it: its disk, its partitions, what is stacked on it (holders) and, for a question about identity, what it is stacked on (slaves) and the
// file under a loop device.
#include "engine/guard/guard.h"

#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"

#define GUARD_FAMILY_MAX     512
#define GUARD_PATH_BYTES     512
#define GUARD_SPACES_MAX     256 // more are looked into once for each of their processes
#define GUARD_LEASE_TRIES    30
#define GUARD_LEASE_PAUSE_NS 100000000
#define GUARD_TICK_NS        5000000
#define GUARD_TICKS_MAX      420

struct br_guard_family {
    dev_t devices[GUARD_FAMILY_MAX];
    size_t count;
};

static void br_guard_sysfs(dev_t device, const char *leaf, char path[GUARD_PATH_BYTES])
{
    snprintf(path, GUARD_PATH_BYTES, "/sys/dev/block/%u:%u/%s", major(device), minor(device), leaf);
}

// Reads a one-line sysfs attribute without its blanks at the ends; false when it isn't there or empty.
static bool br_guard_attribute(dev_t device, const char *leaf, char *text, size_t text_size)
{
    char path[GUARD_PATH_BYTES];

    br_guard_sysfs(device, leaf, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, text, text_size - 1);
    close(fd);
    size_t len = got > 0 ? (size_t)got : 0;
    while (len && (text[len - 1] == '\n' || text[len - 1] == ' ')) {
        len--;
    }
    text[len] = 0;
    size_t lead = strspn(text, " ");
    memmove(text, text + lead, len - lead + 1);
    return text[0] != 0;
}

static bool br_guard_parse_device(const char *text, dev_t *ret_device)
{
    unsigned major_number;
    unsigned minor_number;

    if (sscanf(text, "%u:%u", &major_number, &minor_number) != 2) {
        return false;
    }
    *ret_device = makedev(major_number, minor_number);
    return true;
}

static bool br_guard_name_of(dev_t device, char *name, size_t name_size)
{
    char path[GUARD_PATH_BYTES];
    char link[GUARD_PATH_BYTES];

    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device), minor(device));
    ssize_t len = readlink(path, link, sizeof(link) - 1);
    if (len <= 0) {
        snprintf(name, name_size, "%u:%u", major(device), minor(device));
        return false;
    }
    link[len] = 0;
    const char *slash = strrchr(link, '/');
    snprintf(name, name_size, "%.60s", slash ? slash + 1 : link);
    return true;
}

static bool br_guard_family_has(const struct br_guard_family *family, dev_t device)
{
    for (size_t i = 0; i < family->count; i++) {
        if (family->devices[i] == device) {
            return true;
        }
    }
    return false;
}

static bool br_guard_family_add(struct br_guard_family *family, dev_t device)
{
    if (family->count == GUARD_FAMILY_MAX || br_guard_family_has(family, device)) {
        return false;
    }
    family->devices[family->count++] = device;
    return true;
}

static bool br_guard_is_partition(dev_t device)
{
    char text[32];

    return br_guard_attribute(device, "partition", text, sizeof(text));
}

static bool br_guard_disk_of(dev_t partition, dev_t *ret_disk)
{
    char text[32];

    return br_guard_attribute(partition, "../dev", text, sizeof(text)) && br_guard_parse_device(text, ret_disk);
}

typedef void br_guard_visit_fn(struct br_guard_family *family, dev_t device);

// Visits the devices named by entries of a sysfs folder: holders, slaves, or the disk itself for its partitions.
static void br_guard_each(struct br_guard_family *family, dev_t device, const char *folder, const char *mark,
                          br_guard_visit_fn *visit)
{
    char path[GUARD_PATH_BYTES];
    struct dirent *entry;

    br_guard_sysfs(device, folder, path);
    DIR *dir = opendir(path);
    if (!dir) {
        return;
    }
    while ((entry = readdir(dir))) {
        char leaf[GUARD_PATH_BYTES];
        char text[32];
        dev_t found;
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(leaf, sizeof(leaf), "%.100s/%.200s/%s", folder, entry->d_name, mark);
        if (!br_guard_attribute(device, leaf, text, sizeof(text))) {
            continue;
        }
        snprintf(leaf, sizeof(leaf), "%.100s/%.200s/dev", folder, entry->d_name);
        if (br_guard_attribute(device, leaf, text, sizeof(text)) && br_guard_parse_device(text, &found)) {
            visit(family, found);
        }
    }
    closedir(dir);
}

static bool br_guard_loop_info(const char *name, struct loop_info64 *ret_info)
{
    char path[GUARD_PATH_BYTES];

    snprintf(path, sizeof(path), "/dev/%.200s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    bool ok = ioctl(fd, LOOP_GET_STATUS64, ret_info) == 0;
    close(fd);
    return ok;
}

// Is this loop device over a block device, and over which? Of a file, lo_rdevice is 0 or (old kernels) the file system's device again.
static bool br_guard_loop_device(const char *name, dev_t *ret_device)
{
    struct loop_info64 info;

    if (strncmp(name, "loop", 4) || !br_guard_loop_info(name, &info) || !info.lo_rdevice ||
        info.lo_rdevice == info.lo_device) {
        return false;
    }
    *ret_device = (dev_t)info.lo_rdevice;
    return true;
}

// Visits the loop devices over a block device, which sysfs does not show among its holders.
static void br_guard_each_loop(struct br_guard_family *family, dev_t device, br_guard_visit_fn *visit)
{
    struct dirent *entry;
    DIR *dir = opendir("/sys/block");

    while (dir && (entry = readdir(dir))) {
        char path[GUARD_PATH_BYTES];
        struct stat node;
        dev_t below;
        snprintf(path, sizeof(path), "/dev/%.200s", entry->d_name);
        if (br_guard_loop_device(entry->d_name, &below) && below == device && !stat(path, &node)) {
            visit(family, node.st_rdev);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

// The device, its partitions and everything stacked on them.
static void br_guard_family_up(struct br_guard_family *family, dev_t device)
{
    if (!br_guard_family_add(family, device)) {
        return;
    }
    br_guard_each(family, device, ".", "partition", br_guard_family_up);
    br_guard_each(family, device, "holders", "dev", br_guard_family_up);
    br_guard_each_loop(family, device, br_guard_family_up);
}

static void br_guard_family_down(struct br_guard_family *family, dev_t device)
{
    char name[64];
    dev_t disk;

    if (!br_guard_family_add(family, device)) {
        return;
    }
    br_guard_each(family, device, "slaves", "dev", br_guard_family_down);
    if (br_guard_name_of(device, name, sizeof(name)) && br_guard_loop_device(name, &disk)) {
        br_guard_family_down(family, disk);
    }
    if (br_guard_is_partition(device) && br_guard_disk_of(device, &disk)) {
        br_guard_family_down(family, disk);
    }
}

// Loop devices ------------------------------------------------------------------------------------------------------------------------

// The kernel tells lo_device in its own encoding of a dev_t (new_encode_dev), as stat() does for small numbers.
static bool br_guard_loop_backs(const struct loop_info64 *info, const struct stat *st)
{
    return info->lo_inode == st->st_ino && info->lo_device == (uint64_t)st->st_dev;
}

// Compares by the path that sysfs shows when the device node can't be opened (not root).
static bool br_guard_loop_path_is(const char *name, const struct stat *st)
{
    char path[GUARD_PATH_BYTES];
    char file[4096];
    struct stat backing;

    snprintf(path, sizeof(path), "/sys/block/%.200s/loop/backing_file", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t len = read(fd, file, sizeof(file) - 1);
    close(fd);
    if (len <= 0) {
        return false;
    }
    file[len] = 0;
    file[strcspn(file, "\n")] = 0;
    return !stat(file, &backing) && backing.st_dev == st->st_dev && backing.st_ino == st->st_ino;
}

// Adds every loop device over the file, and what is stacked on it. @only_writable: skip read-only loops.
static void br_guard_family_loops(struct br_guard_family *family, const struct stat *st, bool only_writable)
{
    struct dirent *entry;
    DIR *dir = opendir("/sys/block");

    while (dir && (entry = readdir(dir))) {
        struct loop_info64 info;
        char path[GUARD_PATH_BYTES];
        struct stat node;
        if (strncmp(entry->d_name, "loop", 4)) {
            continue;
        }
        bool known = br_guard_loop_info(entry->d_name, &info);
        if (known ? !br_guard_loop_backs(&info, st) : !br_guard_loop_path_is(entry->d_name, st)) {
            continue;
        }
        if (only_writable && known && (info.lo_flags & LO_FLAGS_READ_ONLY)) {
            continue;
        }
        snprintf(path, sizeof(path), "/dev/%.200s", entry->d_name);
        if (!stat(path, &node)) {
            br_guard_family_up(family, node.st_rdev);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

// Mounts and swap ---------------------------------------------------------------------------------------------------------------------

// mountinfo: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue": the super block's options come last.
static bool br_guard_mount_line(char *line, dev_t *ret_device, const char **ret_where, bool *ret_writable)
{
    char *fields[6] = {0};
    char *rest = line;

    for (size_t i = 0; i < BR_ARRAY_LEN(fields); i++) {
        fields[i] = strsep(&rest, " ");
        if (!fields[i]) {
            return false;
        }
    }
    char *super = rest ? strstr(rest, "- ") : NULL;
    if (!super || !br_guard_parse_device(fields[2], ret_device)) {
        return false;
    }
    char *options = strrchr(super, ' ');
    options = options ? options + 1 : super;
    *ret_writable = !strncmp(options, "rw", 2) && (options[2] == ',' || options[2] == '\n' || !options[2]);
    *ret_where = fields[4];
    return true;
}

// Is a member of the family mounted, as this table says? A file system that spans devices (btrfs) shows an anonymous number: its source
// name is then compared.
static bool br_guard_mounted_by(FILE *table, const struct br_guard_family *family, bool only_writable, char *text,
                                size_t text_size)
{
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    while (!found && getline(&line, &size, table) > 0) {
        char source[GUARD_PATH_BYTES] = "";
        const char *dash = strstr(line, " - ");
        dev_t device;
        const char *where;
        bool writable;
        struct stat st;
        if (dash) {
            sscanf(dash + 3, "%*s %511s", source);
        }
        if (!br_guard_mount_line(line, &device, &where, &writable) || (only_writable && !writable)) {
            continue;
        }
        bool member = br_guard_family_has(family, device);
        if (!member && source[0] == '/' && !stat(source, &st) && S_ISBLK(st.st_mode)) {
            member = br_guard_family_has(family, st.st_rdev);
            device = st.st_rdev;
        }
        if (member) {
            char name[64];
            br_guard_name_of(device, name, sizeof(name));
            snprintf(text, text_size, "%s is mounted %s on %s", name, writable ? "read-write" : "read-only", where);
            found = true;
        }
    }
    free(line);
    return found;
}

// The mount namespaces that were looked into, by inode.
struct br_guard_spaces {
    ino_t seen[GUARD_SPACES_MAX];
    size_t count;
};

static bool br_guard_space_is_new(struct br_guard_spaces *spaces, const char *pid)
{
    char path[GUARD_PATH_BYTES];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", pid);
    if (stat(path, &st)) {
        return false; // gone, or not ours to see
    }
    for (size_t i = 0; i < spaces->count; i++) {
        if (spaces->seen[i] == st.st_ino) {
            return false;
        }
    }
    if (spaces->count < GUARD_SPACES_MAX) {
        spaces->seen[spaces->count++] = st.st_ino;
    }
    return true;
}

static bool br_guard_mounted_for(const char *pid, const struct br_guard_family *family, bool only_writable, char *text,
                                 size_t text_size)
{
    char path[GUARD_PATH_BYTES];

    snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", pid);
    FILE *table = fopen(path, "re");
    bool found = table && br_guard_mounted_by(table, family, only_writable, text, text_size);
    if (table) {
        fclose(table);
    }
    return found;
}

// Is a member of the family mounted, here or where other processes live (a container, a service with mounts of its own)? Sees the namespaces
// of this user's processes, or all as root. Returns 1, 0, or an error when the question can't be asked.
static int br_guard_mounted(const struct br_guard_family *family, bool only_writable, char *text, size_t text_size,
                            struct br_err *reterr)
{
    struct br_guard_spaces spaces = {.count = 0};
    struct dirent *entry;

    if (!br_guard_space_is_new(&spaces, "self")) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "/proc is not there, so nothing tells what is mounted");
    }
    bool found = br_guard_mounted_for("self", family, only_writable, text, text_size);
    DIR *dir = opendir("/proc");
    while (dir && !found && (entry = readdir(dir))) {
        const char *pid = entry->d_name;
        if (pid[0] < '1' || pid[0] > '9' || !br_guard_space_is_new(&spaces, pid)) {
            continue;
        }
        found = br_guard_mounted_for(pid, family, only_writable, text, text_size);
        if (found) {
            size_t used = strlen(text);
            snprintf(text + used, text_size - used, ", as process %.20s sees it", pid);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

static bool br_guard_swap(const struct br_guard_family *family, const struct stat *st, char *text, size_t text_size)
{
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    FILE *file = fopen("/proc/swaps", "re");

    while (file && !found && getline(&line, &size, file) > 0) {
        struct stat swap;
        line[strcspn(line, " \t")] = 0;
        if (line[0] != '/' || stat(line, &swap)) {
            continue;
        }
        found = S_ISBLK(swap.st_mode) ? br_guard_family_has(family, swap.st_rdev)
                                      : swap.st_dev == st->st_dev && swap.st_ino == st->st_ino;
        if (found) {
            snprintf(text, text_size, "%s is used as swap", line);
        }
    }
    free(line);
    if (file) {
        fclose(file);
    }
    return found;
}

// Writers -----------------------------------------------------------------------------------------------------------------------------

static bool br_guard_fd_writes(const char *pid, const char *fd_name)
{
    char path[GUARD_PATH_BYTES];
    char line[128];
    unsigned flags = 0;
    bool known = false;

    snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, fd_name);
    FILE *file = fopen(path, "re");
    while (file && !known && fgets(line, sizeof(line), file)) {
        known = sscanf(line, "flags: %o", &flags) == 1;
    }
    if (file) {
        fclose(file);
    }
    return known && (flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH);
}

static bool br_guard_process_writes(const char *pid, const struct br_guard_family *family, const struct stat *st)
{
    char path[GUARD_PATH_BYTES];
    struct dirent *entry;
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    while (dir && !found && (entry = readdir(dir))) {
        struct stat other;
        if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &other, 0)) {
            continue;
        }
        bool same = S_ISBLK(other.st_mode)
                        ? br_guard_family_has(family, other.st_rdev)
                        : S_ISREG(other.st_mode) && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
        found = same && br_guard_fd_writes(pid, entry->d_name);
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

// Which process has it open for writing? Sees those of this user, or all as root.
static bool br_guard_writer(const struct br_guard_family *family, const struct stat *st, char *text, size_t text_size)
{
    char self[24];
    struct dirent *entry;
    bool found = false;
    DIR *dir = opendir("/proc");

    snprintf(self, sizeof(self), "%ld", (long)getpid());
    while (dir && !found && (entry = readdir(dir))) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !strcmp(entry->d_name, self)) {
            continue;
        }
        if (br_guard_process_writes(entry->d_name, family, st)) {
            char path[GUARD_PATH_BYTES];
            char name[64] = "?";
            snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
            FILE *comm = fopen(path, "re");
            if (comm) {
                if (fgets(name, sizeof(name), comm)) {
                    name[strcspn(name, "\n")] = 0;
                }
                fclose(comm);
            }
            snprintf(text, text_size, "process %.20s (%s) has it open for writing", entry->d_name, name);
            found = true;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

// A read lease is granted only while nobody, in any namespace, has the file open for writing (fcntl(2)). Not every file system has leases.
static bool br_guard_lease_refused(int fd)
{
    if (!fcntl(fd, F_SETLEASE, F_RDLCK)) {
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
    }
    return errno == EAGAIN;
}

// A writer that no process shows: most often a process that was just killed, whose io_uring lets go of its files a moment after it is gone.
// So the question is asked again for a while before it is believed.
static bool br_guard_hidden_writer(int fd)
{
    for (int i = 0; i < GUARD_LEASE_TRIES; i++) {
        if (!br_guard_lease_refused(fd)) {
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = GUARD_LEASE_PAUSE_NS}, NULL);
    }
    return br_guard_lease_refused(fd);
}

// Public ------------------------------------------------------------------------------------------------------------------------------

static int br_guard_stat(int fd, const char *path, struct stat *ret_stat, struct br_err *reterr)
{
    if (fstat(fd, ret_stat)) {
        return br_err_os(reterr, errno, "%s", path);
    }
    if (!S_ISREG(ret_stat->st_mode) && !S_ISBLK(ret_stat->st_mode)) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "%s is neither a regular file nor a block device", path);
    }
    return 0;
}

// Who uses a device is asked of sysfs: where that is missing nothing could be seen, which is not the same as nothing being there.
static int br_guard_can_see(const struct stat *st, const char *path, struct br_err *reterr)
{
    char name[64];

    if (S_ISBLK(st->st_mode) && !br_guard_name_of(st->st_rdev, name, sizeof(name))) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "%s: /sys is not there, so nothing tells what uses the device",
                          path);
    }
    return 0;
}

static void br_guard_clean_name(char *text)
{
    for (; *text; text++) {
        bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                     (*text >= '0' && *text <= '9') || *text == '-' || *text == '.' || *text == '_' || *text == ':';
        if (!plain) {
            *text = '_';
        }
    }
}

static bool br_guard_wwid_of(dev_t device, char *wwid, size_t wwid_size)
{
    static const struct {
        const char *leaf;
        const char *prefix;
    } places[] = {
        {"dm/uuid", "dm-"},           {"wwid", "wwid-"},      {"device/wwid", "wwid-"}, {"serial", "serial-"},
        {"device/serial", "serial-"}, {"device/cid", "cid-"},
    };
    char value[160];
    dev_t disk;

    if (br_guard_is_partition(device) && br_guard_disk_of(device, &disk)) {
        char number[32];
        size_t room = wwid_size > 16 ? wwid_size - 16 : 0;
        if (!br_guard_attribute(device, "partition", number, sizeof(number)) || !br_guard_wwid_of(disk, wwid, room)) {
            return false;
        }
        size_t used = strlen(wwid);
        snprintf(wwid + used, wwid_size - used, "-part%.8s", number);
        return true;
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(places); i++) {
        if (br_guard_attribute(device, places[i].leaf, value, sizeof(value))) {
            snprintf(wwid, wwid_size, "%s%s", places[i].prefix, value);
            br_guard_clean_name(wwid);
            return true;
        }
    }
    return false;
}

bool br_guard_wwid(uint64_t device, char *ret_wwid, size_t size)
{
    ret_wwid[0] = 0;
    return br_guard_wwid_of((dev_t)device, ret_wwid, size);
}

static void br_guard_describe_block(dev_t device, struct br_guard_object *object)
{
    struct loop_info64 info;
    dev_t disk = device;

    if (br_guard_is_partition(device)) {
        br_guard_disk_of(device, &disk);
    }
    br_guard_name_of(device, object->kernel_name, sizeof(object->kernel_name));
    if (!br_guard_attribute(disk, "device/model", object->model, sizeof(object->model))) {
        br_guard_attribute(disk, "dm/name", object->model, sizeof(object->model));
    }
    if (!br_guard_attribute(disk, "serial", object->serial, sizeof(object->serial))) {
        br_guard_attribute(disk, "device/serial", object->serial, sizeof(object->serial));
    }
    object->wwid_stable = br_guard_wwid_of(device, object->wwid, sizeof(object->wwid));
    if (!object->wwid_stable && !strncmp(object->kernel_name, "loop", 4) &&
        br_guard_loop_info(object->kernel_name, &info)) {
        // A loop device is its file: that name survives a detach and a reboot, the loop number does not.
        snprintf(object->wwid, sizeof(object->wwid), "loop-%llx-%llx-%llx", (unsigned long long)info.lo_device,
                 (unsigned long long)info.lo_inode, (unsigned long long)info.lo_offset);
        object->wwid_stable = true;
    }
    if (!object->wwid_stable) {
        snprintf(object->wwid, sizeof(object->wwid), "name-%s", object->kernel_name);
        br_guard_clean_name(object->wwid);
    }
}

int br_guard_describe(int fd, const char *path, struct br_guard_object *ret_object, struct br_err *reterr)
{
    struct br_guard_object object = {.sector_bytes = 512};
    struct stat st;
    char size[32];
    char name[256];
    int error = br_guard_stat(fd, path, &st, reterr);

    if (error) {
        return error;
    }
    object.is_block = S_ISBLK(st.st_mode);
    object.device = object.is_block ? st.st_rdev : st.st_dev;
    object.inode = object.is_block ? 0 : st.st_ino;
    object.size_bytes = (uint64_t)st.st_size;
    if (object.is_block) {
        int sector = 512;
        if (ioctl(fd, BLKGETSIZE64, &object.size_bytes) || ioctl(fd, BLKSSZGET, &sector)) {
            return br_err_os(reterr, errno, "asking the size of %s", path);
        }
        object.sector_bytes = (uint32_t)sector;
        if (!object.size_bytes) { // as a volume it would be empty, and its replica would lose all it holds
            return br_err_set(reterr, BR_E_NOT_FOUND, "%s has no medium: the size of the device is 0", path);
        }
        br_guard_describe_block(st.st_rdev, &object);
    }
    br_size_text(object.size_bytes, size, sizeof(size));
    br_quote(path, name, sizeof(name));
    int used = snprintf(object.text, sizeof(object.text), "%s: %s", name, size);
    struct {
        const char *before;
        const char *value;
    } parts[] = {{", ", object.model}, {", serial ", object.serial}, {", ", object.wwid}};
    for (size_t i = 0; i < BR_ARRAY_LEN(parts) && used > 0 && (size_t)used < sizeof(object.text); i++) {
        if (parts[i].value[0]) {
            used += snprintf(object.text + used, sizeof(object.text) - (size_t)used, "%s%s", parts[i].before,
                             parts[i].value);
        }
    }
    *ret_object = object;
    return 0;
}

static bool br_guard_loop_over(dev_t device, const struct stat *file)
{
    char name[64];
    struct loop_info64 info;

    return br_guard_name_of(device, name, sizeof(name)) && !strncmp(name, "loop", 4) &&
           (br_guard_loop_info(name, &info) ? br_guard_loop_backs(&info, file) : br_guard_loop_path_is(name, file));
}

// A device and a file: the same bytes when the device, or what it is stacked on, is a loop over the file.
static bool br_guard_device_over_file(dev_t device, const struct stat *file)
{
    struct br_guard_family family = {.count = 0};

    br_guard_family_down(&family, device);
    for (size_t i = 0; i < family.count; i++) {
        if (br_guard_loop_over(family.devices[i], file)) {
            return true;
        }
    }
    return false;
}

// Two partitions of one disk share a disk but no bytes: each side goes down to its own disk only when the other is that disk.
static bool br_guard_devices_overlap(dev_t a, dev_t b)
{
    struct br_guard_family down = {.count = 0};

    br_guard_family_down(&down, a);
    if (br_guard_family_has(&down, b)) {
        return true;
    }
    down.count = 0;
    br_guard_family_down(&down, b);
    return br_guard_family_has(&down, a);
}

int br_guard_same(int fd_a, int fd_b, char ret_text[BR_GUARD_TEXT_BYTES], struct br_err *reterr)
{
    struct stat a;
    struct stat b;

    ret_text[0] = 0;
    if (fstat(fd_a, &a) || fstat(fd_b, &b)) {
        return br_err_os(reterr, errno, "comparing source and target");
    }
    bool a_block = S_ISBLK(a.st_mode);
    bool b_block = S_ISBLK(b.st_mode);
    if (!a_block && !b_block) {
        if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) {
            return 0;
        }
        snprintf(ret_text, BR_GUARD_TEXT_BYTES, "both names lead to the same file");
        return 1;
    }
    if (a_block && b_block) {
        if (!br_guard_devices_overlap(a.st_rdev, b.st_rdev)) {
            return 0;
        }
        snprintf(ret_text, BR_GUARD_TEXT_BYTES,
                 a.st_rdev == b.st_rdev ? "both names lead to the same device" : "one device lies within the other");
        return 1;
    }
    if (!br_guard_device_over_file(a_block ? a.st_rdev : b.st_rdev, a_block ? &b : &a)) {
        return 0;
    }
    snprintf(ret_text, BR_GUARD_TEXT_BYTES, "the device is a loop device over the file");
    return 1;
}

static void br_guard_family_of(const struct stat *st, bool only_writable_loops, struct br_guard_family *family)
{
    family->count = 0;
    if (S_ISBLK(st->st_mode)) {
        br_guard_family_up(family, st->st_rdev);
    } else {
        br_guard_family_loops(family, st, only_writable_loops);
    }
}

int br_guard_source(int fd, const char *path, struct br_err *reterr)
{
    struct br_guard_family family;
    struct stat st;
    char text[BR_GUARD_TEXT_BYTES];
    int error = br_guard_stat(fd, path, &st, reterr);

    if (!error) {
        error = br_guard_can_see(&st, path, reterr);
    }
    if (error) {
        return error;
    }
    br_guard_family_of(&st, true, &family);
    int mounted = br_guard_mounted(&family, true, text, sizeof(text), reterr);
    if (mounted < 0) {
        return mounted;
    }
    if (mounted || br_guard_swap(&family, &st, text, sizeof(text)) ||
        br_guard_writer(&family, &st, text, sizeof(text))) {
        return br_err_set(reterr, BR_E_SOURCE_IN_USE, "%s: %s", path, text);
    }
    if (S_ISREG(st.st_mode) && family.count) {
        br_guard_name_of(family.devices[0], text, sizeof(text));
        return br_err_set(reterr, BR_E_SOURCE_IN_USE, "%s: the writable loop device %s lies over it", path, text);
    }
    if (S_ISREG(st.st_mode) && br_guard_hidden_writer(fd)) {
        return br_err_set(reterr, BR_E_SOURCE_IN_USE, "%s: a process that can't be named has it open for writing",
                          path);
    }
    return 0;
}

int br_guard_target(int fd, const char *path, struct br_err *reterr)
{
    struct br_guard_family family;
    struct stat st;
    char text[BR_GUARD_TEXT_BYTES];
    char name[64];
    int error = br_guard_stat(fd, path, &st, reterr);

    if (!error) {
        error = br_guard_can_see(&st, path, reterr);
    }
    if (error) {
        return error;
    }
    br_guard_family_of(&st, false, &family);
    int mounted = br_guard_mounted(&family, false, text, sizeof(text), reterr);
    if (mounted < 0) {
        return mounted;
    }
    if (mounted || br_guard_swap(&family, &st, text, sizeof(text)) ||
        br_guard_writer(&family, &st, text, sizeof(text))) {
        return br_err_set(reterr, BR_E_TARGET_IN_USE, "%s: %s", path, text);
    }
    if (S_ISREG(st.st_mode)) {
        if (family.count) {
            br_guard_name_of(family.devices[0], name, sizeof(name));
            return br_err_set(reterr, BR_E_TARGET_IN_USE, "%s: the loop device %s lies over it", path, name);
        }
        if (br_guard_hidden_writer(fd)) {
            return br_err_set(reterr, BR_E_TARGET_IN_USE, "%s: a process that can't be named has it open for writing",
                              path);
        }
        return 0;
    }
    if (br_guard_attribute(st.st_rdev, "ro", name, sizeof(name)) && strcmp(name, "0") != 0) {
        return br_err_set(reterr, BR_E_REFUSED, "%s: the device is read-only", path);
    }
    for (size_t i = 0; i < family.count; i++) {
        bool own_partition = false;
        dev_t disk;
        own_partition = br_guard_is_partition(family.devices[i]) && br_guard_disk_of(family.devices[i], &disk) &&
                        disk == st.st_rdev;
        if (family.devices[i] != st.st_rdev && !own_partition) {
            br_guard_name_of(family.devices[i], name, sizeof(name));
            return br_err_set(reterr, BR_E_TARGET_IN_USE, "%s: it is held by %s", path, name);
        }
    }
    return 0;
}

static bool br_guard_probe_value(blkid_probe probe, const char *name, char *text, size_t text_size)
{
    const char *value;

    if (blkid_probe_lookup_value(probe, name, &value, NULL) || !value || !*value) {
        return false;
    }
    snprintf(text, text_size, "%s", value);
    return true;
}

int br_guard_signature(int fd, struct br_guard_signature *ret_signature, struct br_err *reterr)
{
    struct br_guard_signature signature = {0};
    blkid_probe probe = blkid_new_probe();

    if (!probe || blkid_probe_set_device(probe, fd, 0, 0)) {
        blkid_free_probe(probe);
        return br_err_set(reterr, BR_E_IO, "looking for signatures on the target");
    }
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_USAGE);
    blkid_probe_enable_partitions(probe, 1);
    int found = blkid_do_safeprobe(probe);
    signature.several = found == -2;
    if (found == 0 && br_guard_probe_value(probe, "TYPE", signature.type, sizeof(signature.type))) {
        br_guard_probe_value(probe, "LABEL", signature.label, sizeof(signature.label));
    } else if (found == 0) {
        signature.partition_table = br_guard_probe_value(probe, "PTTYPE", signature.type, sizeof(signature.type));
    }
    blkid_free_probe(probe);
    if (found == -1) {
        return br_err_set(reterr, BR_E_IO, "looking for signatures on the target");
    }
    *ret_signature = signature;
    return signature.several || signature.type[0];
}

int br_guard_content(int fd, char ret_text[BR_GUARD_TEXT_BYTES], struct br_err *reterr)
{
    struct br_guard_signature signature;
    struct stat st;
    int error = br_guard_stat(fd, "target", &st, reterr);

    ret_text[0] = 0;
    if (error) {
        return error;
    }
    if (S_ISREG(st.st_mode) && !st.st_size) {
        return 0;
    }
    int found = br_guard_signature(fd, &signature, reterr);
    if (found < 0) {
        return found;
    }
    if (signature.several) {
        snprintf(ret_text, BR_GUARD_TEXT_BYTES, "several signatures at once");
    } else if (signature.partition_table) {
        snprintf(ret_text, BR_GUARD_TEXT_BYTES, "%s partition table", signature.type);
    } else if (found) {
        snprintf(ret_text, BR_GUARD_TEXT_BYTES, "%s%s%s", signature.type, signature.label[0] ? " labelled " : "",
                 signature.label);
    } else if (S_ISREG(st.st_mode)) {
        char size[32];
        br_size_text((uint64_t)st.st_size, size, sizeof(size));
        snprintf(ret_text, BR_GUARD_TEXT_BYTES, "a file of %s", size);
    }
    return ret_text[0] != 0;
}

// Sectors written and discarded since boot: fields 7 and 14 of the stat file (Documentation/block/stat.rst).
static uint64_t br_guard_write_count(dev_t device)
{
    char text[512];
    unsigned long long f[14] = {0};

    if (!br_guard_attribute(device, "stat", text, sizeof(text))) {
        return 0;
    }
    sscanf(text, "%llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", &f[0], &f[1], &f[2], &f[3],
           &f[4], &f[5], &f[6], &f[7], &f[8], &f[9], &f[10], &f[11], &f[12], &f[13]);
    return f[6] + f[13];
}

// File systems stamp times with a clock that moves at the timer's ticks, some by whole seconds or two: a file that was written to in this
// very moment could be written to once more without showing it.
static bool br_guard_stamp_is_now(const struct stat *st)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    bool seconds = !st->st_mtim.tv_nsec && (st->st_mtim.tv_sec == now.tv_sec || st->st_mtim.tv_sec == now.tv_sec - 1);
    return seconds || (st->st_mtim.tv_sec == now.tv_sec && st->st_mtim.tv_nsec == now.tv_nsec);
}

static int br_guard_stat_settled(int fd, struct stat *ret_stat, struct br_err *reterr)
{
    int error = br_guard_stat(fd, "source", ret_stat, reterr);

    for (int i = 0; !error && S_ISREG(ret_stat->st_mode) && br_guard_stamp_is_now(ret_stat) && i < GUARD_TICKS_MAX;
         i++) {
        nanosleep(&(struct timespec){.tv_nsec = GUARD_TICK_NS}, NULL);
        error = br_guard_stat(fd, "source", ret_stat, reterr);
    }
    return error;
}

static int br_guard_watch_read(int fd, const struct stat *st, struct br_guard_watch *ret_watch, struct br_err *reterr)
{
    struct br_guard_watch watch = {
        .is_block = S_ISBLK(st->st_mode),
        .device = S_ISBLK(st->st_mode) ? st->st_rdev : st->st_dev,
        .inode = st->st_ino,
        .size_bytes = (uint64_t)st->st_size,
    };

    if (watch.is_block) {
        if (ioctl(fd, BLKGETSIZE64, &watch.size_bytes)) {
            return br_err_os(reterr, errno, "asking the source's size");
        }
        watch.writes = br_guard_write_count(st->st_rdev);
    } else {
        watch.mtime_ns = (uint64_t)st->st_mtim.tv_sec * BR_NS_PER_S + (uint64_t)st->st_mtim.tv_nsec;
        watch.ctime_ns = (uint64_t)st->st_ctim.tv_sec * BR_NS_PER_S + (uint64_t)st->st_ctim.tv_nsec;
    }
    *ret_watch = watch;
    return 0;
}

int br_guard_watch_begin(int fd, struct br_guard_watch *ret_watch, struct br_err *reterr)
{
    struct stat st;
    int error = br_guard_stat_settled(fd, &st, reterr);

    return error ? error : br_guard_watch_read(fd, &st, ret_watch, reterr);
}

int br_guard_watch_check(int fd, const struct br_guard_watch *watch, const char *path, struct br_err *reterr)
{
    struct br_guard_watch now;
    struct stat st;
    int error = br_guard_stat(fd, path, &st, reterr);

    if (!error) {
        error = br_guard_watch_read(fd, &st, &now, reterr);
    }
    if (error) {
        return error;
    }
    if (now.size_bytes != watch->size_bytes) {
        return br_err_set(reterr, BR_E_SOURCE_MOVED, "%s: its size went from %llu to %llu bytes", path,
                          (unsigned long long)watch->size_bytes, (unsigned long long)now.size_bytes);
    }
    // Reading moves neither time; a change of owner or link count moves ctime alone and changes no byte.
    if (now.mtime_ns != watch->mtime_ns) {
        return br_err_set(reterr, BR_E_SOURCE_MOVED, "%s: its modification time moved", path);
    }
    if (now.writes != watch->writes) {
        return br_err_set(reterr, BR_E_SOURCE_MOVED, "%s: the kernel counted %llu sectors written to it", path,
                          (unsigned long long)(now.writes - watch->writes));
    }
    return 0;
}
