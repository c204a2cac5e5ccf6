// SPDX-License-Identifier: Apache-2.0
/*
 * nbdkit plugin: disks behind a volatile write cache, and the power cut that empties it.
 *
 * Killing QEMU is not a power cut, since the host's page cache outlives it. This plugin serves the guest's disks from
 * plain files and remembers every write that no flush has covered yet. When the power is cut it undoes them all and
 * then, by a seed, redoes some whole, some torn at sector borders, and some not at all:
 *
 *      flush          flush                 cut
 *   ---- F --- w1 w2 w3 F --- w4 w5 w6 w7 ---X       w1..w3 survive, always
 *                                                    w4..w7: any subset, each whole or in part
 *
 * Redone in order of arrival, a sector ends as one of the values that it held since the last flush, and two sectors
 * are independent: what a drive may do that reorders its cache. A write with FUA is redone whole, always. The cache is
 * bounded as a drive's is: beyond CACHE_MAX_BYTES the oldest writes become durable. The write that the cut interrupts
 * was never acknowledged, and may survive in part all the same.
 *
 * All disks of a machine are exports of one process, so that a cut hits them at one instant.
 *
 *   nbdkit -U SOCKET volatile-disk.so disk=NAME:SECTOR_BYTES:FILE... control=FIFO report=FILE seed=N
 *
 * The control FIFO takes lines: `cut` (now) and `cut-after N` (at the N-th write or flush from here, first is 1). The
 * plugin then kills its client with SIGKILL, answers nothing more, and settles the cache when nbdkit is told to end.
 * The report has one line for each disk: NAME lost=N torn=N kept=N (writes). Without a cut nothing is lost: a machine
 * that is switched off in order has flushed.
 *
 * Not modelled: a drive that lies about flushes, misdirected writes, sectors that turn unreadable.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

#define DISKS_MAX        16
#define CACHE_MAX_BYTES  (64u << 20)
#define SECTOR_BYTES_MAX 4096

struct cached_write {
    struct cached_write *next, *prev;
    uint64_t offset_bytes;
    uint32_t len_bytes;
    bool must_keep;            // FUA: acknowledged as durable
    unsigned char *old, *data; // data NULL: zeroes
};

struct disk {
    char *name, *path;
    int fd;
    uint32_t sector_bytes;
    uint64_t size_bytes;
    struct cached_write *oldest, *newest;
    uint64_t cache_bytes;
    uint64_t lost, torn, kept;
};

static struct disk disks[DISKS_MAX];
static size_t disk_count;
static char *control_path, *report_path;
static int control_fd = -1;
static uint64_t seed;
static int64_t cut_countdown; // 0: none is due
static bool powered_off;

static uint64_t random_next(void)
{
    // splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014
    uint64_t z = seed += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int read_all(int fd, void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));

        if (n <= 0) {
            if (n < 0 && errno == EINTR)
                continue;
            nbdkit_error("pread at %" PRIu64 ": %m", offset + done);
            return -1;
        }
        done += (size_t)n;
    }
    return 0;
}

static int write_all(int fd, const void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));

        if (n < 0) {
            if (errno == EINTR)
                continue;
            nbdkit_error("pwrite at %" PRIu64 ": %m", offset + done);
            return -1;
        }
        done += (size_t)n;
    }
    return 0;
}

static int write_zeroes(int fd, size_t len, uint64_t offset)
{
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) < 0) {
        nbdkit_error("punch hole at %" PRIu64 ": %m", offset);
        return -1;
    }
    return 0;
}

static void make_oldest_durable(struct disk *disk)
{
    struct cached_write *write = disk->oldest;

    disk->oldest = write->next;
    if (disk->oldest)
        disk->oldest->prev = NULL;
    else
        disk->newest = NULL;
    disk->cache_bytes -= write->len_bytes;
    free(write->old);
    free(write->data);
    free(write);
}

static void make_all_durable(struct disk *disk)
{
    while (disk->oldest)
        make_oldest_durable(disk);
}

// Remember what the file holds now and what it is about to hold. data NULL: zeroes.
static int cache_write(struct disk *disk, const void *data, uint32_t len, uint64_t offset, bool fua)
{
    struct cached_write *write = calloc(1, sizeof(*write));

    if (!write)
        goto no_memory;
    write->offset_bytes = offset;
    write->len_bytes = len;
    write->must_keep = fua;
    write->old = malloc(len);
    if (data)
        write->data = malloc(len);
    if (!write->old || (data && !write->data))
        goto no_memory;
    if (read_all(disk->fd, write->old, len, offset) < 0)
        goto failed;
    if (data)
        memcpy(write->data, data, len);
    write->prev = disk->newest;
    if (disk->newest)
        disk->newest->next = write;
    else
        disk->oldest = write;
    disk->newest = write;
    disk->cache_bytes += len;
    while (disk->oldest && disk->cache_bytes > CACHE_MAX_BYTES)
        make_oldest_durable(disk);
    return 0;
no_memory:
    nbdkit_error("out of memory");
failed:
    if (write) {
        free(write->old);
        free(write->data);
        free(write);
    }
    return -1;
}

static int redo(struct disk *disk, const struct cached_write *write, uint32_t from, uint32_t len)
{
    if (!write->data)
        return write_zeroes(disk->fd, len, write->offset_bytes + from);
    return write_all(disk->fd, write->data + from, len, write->offset_bytes + from);
}

static int redo_torn(struct disk *disk, const struct cached_write *write)
{
    for (uint32_t from = 0; from < write->len_bytes; from += disk->sector_bytes) {
        uint32_t len = write->len_bytes - from;

        if (len > disk->sector_bytes)
            len = disk->sector_bytes;
        if (random_next() % 2 && redo(disk, write, from, len) < 0)
            return -1;
    }
    return 0;
}

// The power is gone: leave on the disk what a drive might have left.
static int settle(struct disk *disk, unsigned keep_percent)
{
    for (struct cached_write *write = disk->newest; write; write = write->prev)
        if (write_all(disk->fd, write->old, write->len_bytes, write->offset_bytes) < 0)
            return -1;
    for (struct cached_write *write = disk->oldest; write; write = write->next) {
        bool tear = random_next() % 4 == 0;
        bool keep = random_next() % 100 < keep_percent;
        int r = 0;

        if (write->must_keep || (keep && !tear)) {
            disk->kept++;
            r = redo(disk, write, 0, write->len_bytes);
        } else if (tear && keep_percent > 0 && write->len_bytes > disk->sector_bytes) {
            disk->torn++;
            r = redo_torn(disk, write);
        } else {
            disk->lost++;
        }
        if (r < 0)
            return -1;
    }
    make_all_durable(disk);
    return 0;
}

static void power_off(void)
{
    int pid = nbdkit_peer_pid();

    powered_off = true;
    if (pid > 1)
        kill(pid, SIGKILL);
}

static void obey(const char *line)
{
    if (strcmp(line, "cut") == 0)
        powered_off = true;
    else if (strncmp(line, "cut-after ", 10) == 0)
        cut_countdown = strtoll(line + 10, NULL, 10);
    else
        nbdkit_debug("control: unknown line: %s", line);
}

static void read_control(void)
{
    static char line[128];
    static size_t len;
    char c;

    while (control_fd >= 0 && read(control_fd, &c, 1) == 1) {
        if (c != '\n' && len < sizeof(line) - 1) {
            line[len++] = c;
            continue;
        }
        line[len] = '\0';
        len = 0;
        obey(line);
    }
}

// Is the machine still powered? Counts one write or flush towards a cut that is due.
static bool alive(bool counts, struct disk *disk, const void *data, uint32_t len, uint64_t offset)
{
    read_control();
    if (powered_off) {
        power_off();
    } else if (counts && cut_countdown > 0 && --cut_countdown == 0) {
        // The interrupted write reached the drive, its answer did not reach the machine.
        if (len > 0 && cache_write(disk, data, len, offset, false) < 0)
            nbdkit_debug("the interrupted write is lost whole");
        power_off();
    }
    if (!powered_off)
        return true;
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    nbdkit_set_error(ESHUTDOWN);
    return false;
}

static int add_disk(char *spec)
{
    struct disk *disk = &disks[disk_count];
    char *sector = strchr(spec, ':'), *path = sector ? strchr(sector + 1, ':') : NULL;

    if (!path || disk_count == DISKS_MAX) {
        nbdkit_error("disk=NAME:SECTOR_BYTES:FILE, at most %d of them", DISKS_MAX);
        return -1;
    }
    *sector++ = '\0';
    *path++ = '\0';
    disk->name = spec;
    disk->path = path;
    disk->sector_bytes = (uint32_t)strtoul(sector, NULL, 10);
    if (disk->sector_bytes < 512 || disk->sector_bytes > SECTOR_BYTES_MAX) {
        nbdkit_error("%s: sector size %s", spec, sector);
        return -1;
    }
    disk_count++;
    return 0;
}

static int volatile_config(const char *key, const char *value)
{
    char *copy = strdup(value);

    if (!copy) {
        nbdkit_error("out of memory");
        return -1;
    }
    if (strcmp(key, "disk") == 0) {
        if (add_disk(copy) == 0)
            return 0;
        free(copy);
        return -1;
    }
    if (strcmp(key, "control") == 0) {
        control_path = copy;
    } else if (strcmp(key, "report") == 0) {
        report_path = copy;
    } else if (strcmp(key, "seed") == 0) {
        seed = strtoull(copy, NULL, 10);
        free(copy);
    } else {
        nbdkit_error("unknown parameter: %s", key);
        free(copy);
        return -1;
    }
    return 0;
}

static int volatile_get_ready(void)
{
    for (size_t i = 0; i < disk_count; i++) {
        struct stat st;

        disks[i].fd = open(disks[i].path, O_RDWR | O_CLOEXEC);
        if (disks[i].fd < 0 || fstat(disks[i].fd, &st) < 0) {
            nbdkit_error("%s: %m", disks[i].path);
            return -1;
        }
        disks[i].size_bytes = (uint64_t)st.st_size;
    }
    if (!control_path || !report_path) {
        nbdkit_error("control= and report= are needed");
        return -1;
    }
    // Open for writing too, so that the pipe never ends.
    control_fd = open(control_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (control_fd < 0) {
        nbdkit_error("%s: %m", control_path);
        return -1;
    }
    return 0;
}

static void volatile_cleanup(void)
{
    // How much had reached the medium: consecutive seeds go through all of it, both extremes included.
    unsigned keep_percent = (unsigned)(seed % 5) * 25;
    FILE *report;

    read_control();
    if (!powered_off)
        return;
    report = fopen(report_path, "w");
    for (size_t i = 0; i < disk_count; i++) {
        if (settle(&disks[i], keep_percent) < 0 || !report)
            exit(1); // no report: the run is void
        fprintf(report, "%s lost=%" PRIu64 " torn=%" PRIu64 " kept=%" PRIu64 "\n", disks[i].name, disks[i].lost,
                disks[i].torn, disks[i].kept);
    }
    if (report && fclose(report) != 0)
        exit(1);
}

static void *volatile_open(int readonly)
{
    const char *name = nbdkit_export_name();

    (void)readonly;
    for (size_t i = 0; name && i < disk_count; i++)
        if (strcmp(disks[i].name, name) == 0)
            return &disks[i];
    nbdkit_error("no such disk: %s", name ? name : "");
    return NULL;
}

static int64_t volatile_get_size(void *handle)
{
    return (int64_t)((struct disk *)handle)->size_bytes;
}

static int volatile_can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

static int volatile_pread(void *handle, void *buf, uint32_t len, uint64_t offset, uint32_t flags)
{
    struct disk *disk = handle;

    (void)flags;
    if (!alive(false, disk, NULL, 0, 0))
        return -1;
    return read_all(disk->fd, buf, len, offset);
}

static int volatile_pwrite(void *handle, const void *buf, uint32_t len, uint64_t offset, uint32_t flags)
{
    struct disk *disk = handle;

    if (!alive(true, disk, buf, len, offset))
        return -1;
    if (cache_write(disk, buf, len, offset, flags & NBDKIT_FLAG_FUA) < 0)
        return -1;
    return write_all(disk->fd, buf, len, offset);
}

static int volatile_zero(void *handle, uint32_t len, uint64_t offset, uint32_t flags)
{
    struct disk *disk = handle;

    if (!alive(true, disk, NULL, len, offset))
        return -1;
    if (cache_write(disk, NULL, len, offset, flags & NBDKIT_FLAG_FUA) < 0)
        return -1;
    return write_zeroes(disk->fd, len, offset);
}

static int volatile_flush(void *handle, uint32_t flags)
{
    struct disk *disk = handle;

    (void)flags;
    if (!alive(true, disk, NULL, 0, 0))
        return -1;
    make_all_durable(disk);
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "volatile-disk",
    .longname = "blkrep test bed: disks with a volatile write cache",
    .config = volatile_config,
    .get_ready = volatile_get_ready,
    .cleanup = volatile_cleanup,
    .open = volatile_open,
    .get_size = volatile_get_size,
    .can_fua = volatile_can_fua,
    .pread = volatile_pread,
    .pwrite = volatile_pwrite,
    .zero = volatile_zero,
    .trim = volatile_zero,
    .flush = volatile_flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
