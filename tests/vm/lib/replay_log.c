// SPDX-License-Identifier: Apache-2.0
/*
 * replay_log: what a disk held at each moment, from the log of the device-mapper target log-writes.
 *
 *   replay_log list LOG                      one line for each entry: INDEX KIND OFFSET_BYTES LEN_BYTES [MARK]
 *   replay_log apply LOG DEVICE FROM TO      write entries FROM..TO-1 to DEVICE
 *   replay_log apply --lose SEED LOG ...     ... as a drive may that loses power: what no flush in FROM..TO-1 covers is
 *                                            written whole, in part, or not at all
 *   replay_log apply --lose SEED,BYTES ...   ... where the first BYTES of the disk are torn at multiples of 4096 only: for
 *                                            ext4, which checks its superblock before it looks at the journal, and does
 *                                            not survive a half of it
 *
 * KIND is what the entry did: write, fua (a write that was durable when it completed), flush (everything before it was
 * durable; one that carried data is both, told as "flush" with a length), discard, mark. Entries are numbered from 0.
 *
 * The kernel logs a write when the next flush completes, in the order of completion, so that the log up to a flush is
 * exactly what had to be on the medium; what no flush followed stands at the log's end. Format: Linux,
 * Documentation/admin-guide/device-mapper/log-writes.rst and the structures that the target's source names:
 *
 *   sector 0:  magic, version, entries (64 bits each), sector size (32 bits)
 *   then for each entry one sector: sector, sectors, flags, mark's length (64 bits each), mark's text
 *   followed by the sectors' data, unless it is a discard; all little-endian, sectors of the size that the header says.
 *
 * A log that was full ends without a word (the target stops logging): make it larger than all that is written.
 */
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MAGIC        0x6a736677736872u
#define LOG_VERSION      1u
#define SECTOR_BYTES_MAX 4096
#define PAGE_BYTES       4096u
#define WRITE_BYTES_MAX  (64u << 20)

enum { FLAG_FLUSH = 1, FLAG_FUA = 2, FLAG_DISCARD = 4, FLAG_MARK = 8 };

struct log_header {
    uint64_t magic, version, entries;
    uint32_t sector_bytes;
};

struct log_entry {
    uint64_t sector, sectors, flags, mark_bytes;
};

struct log_file {
    int fd;
    uint64_t entries;
    uint32_t sector_bytes;
    uint64_t next_index;
    uint64_t next_offset_bytes;
    // the entry that was read last
    struct log_entry entry;
    char mark[SECTOR_BYTES_MAX + 1];
    uint64_t data_offset_bytes;
};

static uint64_t random_state;
static uint64_t whole_pages_bytes; // so much of the disk is torn at multiples of PAGE_BYTES only

static uint64_t random_next(void)
{
    // splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void read_exactly(int fd, void *buf, size_t len, uint64_t offset)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));

        if (n < 0)
            err(1, "read at %" PRIu64, offset + done);
        if (n == 0)
            errx(1, "the log ends at %" PRIu64 ", in the middle of an entry", offset + done);
        done += (size_t)n;
    }
}

static void write_exactly(int fd, const void *buf, size_t len, uint64_t offset)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));

        if (n < 0)
            err(1, "write at %" PRIu64, offset + done);
        done += (size_t)n;
    }
}

static void log_open(struct log_file *log, const char *path)
{
    struct log_header header;

    memset(log, 0, sizeof(*log));
    log->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (log->fd < 0)
        err(1, "%s", path);
    read_exactly(log->fd, &header, sizeof(header), 0);
    if (le64toh(header.magic) != LOG_MAGIC || le64toh(header.version) != LOG_VERSION)
        errx(1, "%s: not a log of log-writes, version %u", path, LOG_VERSION);
    log->entries = le64toh(header.entries);
    log->sector_bytes = le32toh(header.sector_bytes);
    if (log->sector_bytes < 512 || log->sector_bytes > SECTOR_BYTES_MAX)
        errx(1, "%s: sectors of %" PRIu32 " bytes", path, log->sector_bytes);
    log->next_offset_bytes = log->sector_bytes;
}

static bool log_next(struct log_file *log)
{
    struct log_entry raw, *entry = &log->entry;

    if (log->next_index == log->entries)
        return false;
    read_exactly(log->fd, &raw, sizeof(raw), log->next_offset_bytes);
    *entry = (struct log_entry){le64toh(raw.sector), le64toh(raw.sectors), le64toh(raw.flags), le64toh(raw.mark_bytes)};
    log->mark[0] = '\0';
    if (entry->flags & FLAG_MARK) {
        if (entry->mark_bytes > log->sector_bytes - sizeof(raw))
            errx(1, "entry %" PRIu64 ": a mark of %" PRIu64 " bytes", log->next_index, entry->mark_bytes);
        read_exactly(log->fd, log->mark, entry->mark_bytes, log->next_offset_bytes + sizeof(raw));
        log->mark[entry->mark_bytes] = '\0';
    }
    if (entry->sectors > UINT64_MAX / SECTOR_BYTES_MAX || entry->sector > UINT64_MAX / SECTOR_BYTES_MAX)
        errx(1, "entry %" PRIu64 ": sector %" PRIu64 " + %" PRIu64, log->next_index, entry->sector, entry->sectors);
    log->data_offset_bytes = log->next_offset_bytes + log->sector_bytes;
    log->next_offset_bytes = log->data_offset_bytes;
    if (!(entry->flags & FLAG_DISCARD))
        log->next_offset_bytes += entry->sectors * log->sector_bytes;
    log->next_index++;
    return true;
}

static const char *kind(const struct log_entry *entry)
{
    if (entry->flags & FLAG_MARK)
        return "mark";
    if (entry->flags & FLAG_DISCARD)
        return "discard";
    if (entry->flags & FLAG_FLUSH)
        return "flush";
    return entry->flags & FLAG_FUA ? "fua" : "write";
}

static int list(const char *path)
{
    struct log_file log;

    log_open(&log, path);
    while (log_next(&log)) {
        printf("%" PRIu64 " %s %" PRIu64 " %" PRIu64 "%s%s\n", log.next_index - 1, kind(&log.entry),
               log.entry.sector * log.sector_bytes, log.entry.sectors * log.sector_bytes, log.mark[0] ? " " : "",
               log.mark);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

// The entry's data, zeroes for a discard: a drive may return anything there, and zeroes are what virtio disks return.
static unsigned char *entry_data(const struct log_file *log, size_t len)
{
    unsigned char *data;

    if (len > WRITE_BYTES_MAX)
        errx(1, "entry %" PRIu64 ": %zu bytes", log->next_index - 1, len);
    data = calloc(1, len);
    if (!data)
        err(1, "memory");
    if (!(log->entry.flags & FLAG_DISCARD))
        read_exactly(log->fd, data, len, log->data_offset_bytes);
    return data;
}

static void apply_entry(const struct log_file *log, int device, bool may_lose)
{
    size_t len = log->entry.sectors * log->sector_bytes;
    uint64_t offset = log->entry.sector * log->sector_bytes;
    unsigned fate = may_lose ? (unsigned)(random_next() % 3) : 0; // whole, torn, lost
    unsigned char *data;

    if (len == 0 || fate == 2)
        return;
    data = entry_data(log, len);
    if (fate == 0) {
        write_exactly(device, data, len, offset);
    } else {
        for (size_t from = 0, piece; from < len; from += piece) {
            piece = log->sector_bytes;
            if (offset + from < whole_pages_bytes)
                piece = PAGE_BYTES - (offset + from) % PAGE_BYTES;
            if (piece > len - from)
                piece = len - from;
            if (random_next() % 2)
                write_exactly(device, data + from, piece, offset + from);
        }
    }
    free(data);
}

// The index after the last flush in from..to-1: what lies before it is durable.
static uint64_t durable_up_to(const char *path, uint64_t from, uint64_t to)
{
    struct log_file log;
    uint64_t durable = from;

    log_open(&log, path);
    while (log.next_index < to && log_next(&log))
        if (log.next_index > from && log.entry.flags & FLAG_FLUSH)
            durable = log.next_index;
    close(log.fd);
    return durable;
}

static int apply(const char *path, const char *device_path, uint64_t from, uint64_t to, bool lose)
{
    struct log_file log;
    uint64_t durable = lose ? durable_up_to(path, from, to) : to;
    int device = open(device_path, O_WRONLY | O_CLOEXEC);

    if (device < 0)
        err(1, "%s", device_path);
    log_open(&log, path);
    if (to > log.entries)
        errx(1, "the log has %" PRIu64 " entries, not %" PRIu64, log.entries, to);
    while (log.next_index < to && log_next(&log)) {
        uint64_t index = log.next_index - 1;

        if (index >= from)
            apply_entry(&log, device, index >= durable && !(log.entry.flags & FLAG_FUA));
    }
    if (fsync(device) < 0 || close(device) < 0)
        err(1, "%s", device_path);
    return 0;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end)
        errx(2, "not a number: %s", text);
    return value;
}

int main(int argc, char **argv)
{
    bool lose = argc == 8 && strcmp(argv[2], "--lose") == 0;

    if (argc == 3 && strcmp(argv[1], "list") == 0)
        return list(argv[2]);
    if (lose) {
        char *comma = strchr(argv[3], ',');

        if (comma) {
            whole_pages_bytes = number(comma + 1);
            *comma = '\0';
        }
        random_state = number(argv[3]);
        argv += 2;
    }
    if ((lose || argc == 6) && strcmp(argv[lose ? -1 : 1], "apply") == 0)
        return apply(argv[2], argv[3], number(argv[4]), number(argv[5]), lose);
    errx(2, "usage: replay_log list LOG | apply [--lose SEED[,BYTES]] LOG DEVICE FROM TO");
}
