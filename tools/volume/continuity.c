// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/continuity.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>
#include <utmpx.h>

#include "engine/base/units.h"

#define CONTINUITY_HEAD_BYTES  4096u
#define CONTINUITY_END_BYTES   (UINT64_C(1) << 20)
#define CONTINUITY_SAMPLES     32u
#define CONTINUITY_BLOCK_BYTES 65536u
#define CONTINUITY_BOOT_SLACK  120u // seconds by which two clocks may tell one boot's time

// ext4 superblock, at byte 1024 of the device (Linux, Documentation/filesystems/ext4/super.rst)
#define EXT4_AT        1024u
#define EXT4_MTIME     0x2cu
#define EXT4_MNT_COUNT 0x34u
#define EXT4_MAGIC     0x38u
#define EXT4_UUID      0x68u
#define EXT4_MKFS_TIME 0x108u
#define EXT4_MTIME_HI  0x275u
// XFS superblock: one sector at byte 0 (Linux, fs/xfs/libxfs/xfs_format.h)
#define XFS_MAGIC        "XFSB"
#define XFS_SECTOR_BYTES 512u

static void continuity_hex(const uint8_t digest[32], char ret_hash[VOLUME_EVIDENCE_BYTES])
{
    for (int i = 0; i < 32; i++) {
        snprintf(ret_hash + 2 * i, 3, "%02x", digest[i]);
    }
}

// Superblocks -------------------------------------------------------------------------------------------------------------------------

void continuity_superblock(const uint8_t head[4096], char ret_hash[VOLUME_EVIDENCE_BYTES])
{
    const uint8_t *ext4 = head + EXT4_AT;
    uint8_t what[64] = "ext4";
    uint8_t digest[EVP_MAX_MD_SIZE];
    bool ok;

    ret_hash[0] = 0;
    if (!memcmp(head, XFS_MAGIC, 4)) {
        ok = EVP_Digest(head, XFS_SECTOR_BYTES, digest, NULL, EVP_sha256(), NULL) == 1;
    } else if (ext4[EXT4_MAGIC] == 0x53 && ext4[EXT4_MAGIC + 1] == 0xef) {
        memcpy(what + 4, ext4 + EXT4_MTIME, 4);
        memcpy(what + 8, ext4 + EXT4_MNT_COUNT, 2);
        memcpy(what + 10, ext4 + EXT4_UUID, 16);
        memcpy(what + 26, ext4 + EXT4_MKFS_TIME, 4);
        what[30] = ext4[EXT4_MTIME_HI];
        ok = EVP_Digest(what, 31, digest, NULL, EVP_sha256(), NULL) == 1;
    } else {
        return;
    }
    if (ok) {
        continuity_hex(digest, ret_hash);
    }
}

static int continuity_read_superblock(struct br_file *file, uint64_t size_bytes, char *ret_hash, struct br_err *reterr)
{
    uint8_t head[CONTINUITY_HEAD_BYTES] = {0};
    int error = size_bytes >= sizeof(head) ? br_file_read(file, head, sizeof(head), 0, reterr) : 0;

    if (!error) {
        continuity_superblock(head, ret_hash);
    }
    return error;
}

// Evidence ----------------------------------------------------------------------------------------------------------------------------

static int continuity_add(EVP_MD_CTX *hash, struct br_file *file, uint64_t offset, uint64_t len, uint8_t *buffer,
                          struct br_err *reterr)
{
    br_file_drop_cache(file, offset, len);
    int error = len ? br_file_read(file, buffer, len, offset, reterr) : 0;

    return error || EVP_DigestUpdate(hash, buffer, len) == 1 ? error : br_err_set(reterr, BR_E_INTERNAL, "SHA-256");
}

// Both ends of the volume, where superblocks and their copies are, and blocks that its id draws: who writes elsewhere can't know them, and
// the early boot, whose copy of the record may be old, draws the same.
static int continuity_evidence(const struct volume_record *record, struct br_file *file, uint64_t size_bytes,
                               char *ret_hash, struct br_err *reterr)
{
    BR_AUTO_FREE uint8_t *buffer = malloc(CONTINUITY_END_BYTES);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    uint64_t end_bytes = BR_MIN(size_bytes, CONTINUITY_END_BYTES);
    int error = 0;

    if (!buffer || !hash || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1) {
        error = br_err_set(reterr, BR_E_NOMEM, "evidence of %s", record->name);
    }
    error = error ? error : continuity_add(hash, file, 0, end_bytes, buffer, reterr);
    error = error ? error : continuity_add(hash, file, size_bytes - end_bytes, end_bytes, buffer, reterr);
    for (uint64_t i = 0; !error && size_bytes > CONTINUITY_BLOCK_BYTES && i < CONTINUITY_SAMPLES; i++) {
        uint8_t draw[BR_UUID_BYTES + 1];
        memcpy(draw, record->volume.bytes, BR_UUID_BYTES);
        draw[BR_UUID_BYTES] = (uint8_t)i;
        if (EVP_Digest(draw, sizeof(draw), digest, NULL, EVP_sha256(), NULL) != 1) {
            error = br_err_set(reterr, BR_E_INTERNAL, "SHA-256");
            break;
        }
        uint64_t block = br_get_u64(digest) % (size_bytes / CONTINUITY_BLOCK_BYTES);
        error = continuity_add(hash, file, block * CONTINUITY_BLOCK_BYTES, CONTINUITY_BLOCK_BYTES, buffer, reterr);
    }
    if (!error && EVP_DigestFinal_ex(hash, digest, NULL) == 1) {
        continuity_hex(digest, ret_hash);
    }
    EVP_MD_CTX_free(hash);
    return error;
}

// The system --------------------------------------------------------------------------------------------------------------------------

static void continuity_line(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, size - 1) : 0;

    text[got > 0 ? got : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    if (fd >= 0) {
        close(fd);
    }
}

static uint64_t continuity_boot_unix_ns(void)
{
    char line[256];
    unsigned long long seconds = 0;
    FILE *file = fopen("/proc/stat", "re");

    while (file && fgets(line, sizeof(line), file) && sscanf(line, "btime %llu", &seconds) != 1) {}
    if (file) {
        fclose(file);
    }
    return seconds * BR_NS_PER_S;
}

bool continuity_off(void)
{
    char line[4096];

    continuity_line("/proc/cmdline", line, sizeof(line));
    char *rest = line, *word;
    while ((word = strsep(&rest, " "))) {
        if (!strcmp(word, "blkrep=off")) {
            return true;
        }
    }
    return false;
}

bool continuity_boots_between(const char *path, uint64_t from_unix, uint64_t to_unix)
{
    struct utmpx *entry;
    bool found = false;

    if (!from_unix || from_unix >= to_unix || access(path, R_OK)) {
        return false;
    }
    utmpxname(path);
    setutxent();
    while (!found && (entry = getutxent())) {
        uint64_t at = (uint64_t)entry->ut_tv.tv_sec;
        found = entry->ut_type == BOOT_TIME && at > from_unix + CONTINUITY_BOOT_SLACK &&
                at + CONTINUITY_BOOT_SLACK < to_unix;
    }
    endutxent();
    return found;
}

void continuity_system(const struct volume_record *record, struct continuity_now *now)
{
    now->off = continuity_off();
    now->boot_unix_ns = continuity_boot_unix_ns();
    continuity_line("/proc/sys/kernel/random/boot_id", now->boot_id, sizeof(now->boot_id));
    continuity_line("/etc/machine-id", now->machine_id, sizeof(now->machine_id));
    now->boots_between =
        continuity_boots_between("/var/log/wtmp", record->boot_unix_ns / BR_NS_PER_S, now->boot_unix_ns / BR_NS_PER_S);
}

int continuity_look(const struct volume_record *record, struct br_file *file, const char *wwid,
                    struct continuity_now *ret_now, struct br_err *reterr)
{
    struct continuity_now now = {0};
    struct br_file_info info;
    int error = br_file_stat(file, &info, reterr);

    if (error) {
        return error;
    }
    continuity_system(record, &now);
    snprintf(now.wwid, sizeof(now.wwid), "%s", wwid);
    now.size_bytes = info.size_bytes;
    error = continuity_evidence(record, file, BR_MIN(info.size_bytes, record->size_bytes), now.evidence, reterr);
    error = error ? error : continuity_read_superblock(file, info.size_bytes, now.superblock, reterr);
    if (!error) {
        *ret_now = now;
    }
    return error;
}

const char *continuity_judge(const struct volume_record *record, const struct continuity_now *now)
{
    if (br_uuid_is_nil(&record->chain)) {
        return NULL;
    }
    if (now->off) {
        return "switched-off-at-boot";
    }
    if (now->lost[0]) {
        return now->lost;
    }
    if (strcmp(record->wwid, now->wwid) != 0) {
        return "another-device";
    }
    if (now->size_bytes < record->size_bytes) {
        return "device-shrank";
    }
    if (strcmp(record->machine_id, now->machine_id) != 0) {
        return "another-machine";
    }
    if (record->clean) {
        return strcmp(record->evidence, now->evidence) ? "written-while-down" : NULL;
    }
    if (!strcmp(record->boot_id, now->boot_id)) {
        // It was up in this boot and is not any more, and nobody took it down in order: whoever did may have written.
        return record->up ? "stack-removed" : "attach-cut-short";
    }
    if (now->boots_between) {
        return "booted-without-tracker";
    }
    return strcmp(record->superblock, now->superblock) ? "mounted-without-tracker" : NULL;
}

void continuity_take(struct volume_record *record, const struct continuity_now *now)
{
    memcpy(record->boot_id, now->boot_id, sizeof(record->boot_id));
    memcpy(record->machine_id, now->machine_id, sizeof(record->machine_id));
    memcpy(record->superblock, now->superblock, sizeof(record->superblock));
    memcpy(record->wwid, now->wwid, sizeof(record->wwid));
    record->boot_unix_ns = now->boot_unix_ns;
    record->clean = false;
    record->evidence[0] = 0;
}

int continuity_note_view(struct volume *volume, struct br_file *view, struct br_err *reterr)
{
    char hash[VOLUME_EVIDENCE_BYTES];
    int error = continuity_read_superblock(view, volume->record.size_bytes, hash, reterr);

    if (error || !strcmp(hash, volume->record.superblock)) {
        return error;
    }
    memcpy(volume->record.superblock, hash, sizeof(hash));
    return volume_save(volume, reterr);
}

int continuity_note_down(struct volume_record *record, struct br_file *file, struct br_err *reterr)
{
    int error = continuity_evidence(record, file, record->size_bytes, record->evidence, reterr);

    record->clean = !error;
    return error;
}
