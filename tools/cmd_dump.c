// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/codec/dump.h"
#include "engine/track/cow_store.h"
#include "engine/track/era_meta.h"
#include "engine/repo/object_dump.h"
#include "tools/repository.h"

#define DUMP_READ_BYTES (256 * 1024)

static const struct cli_option dump_options[] = {
    {"blocks", CLI_FLAG, NULL, "Also a line for each block of a stream's data, for each chunk of a pack."},
    {"object", CLI_TEXT, "NAME", "Of a repository: this object; without it the names of all are printed."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example dump_examples[] = {
    {"blkrep dump delta.blkrep", "A stream that blkrep send wrote."},
    {"blkrep dump /backup/disk.img.blkrep/identity", "What a replica says of itself."},
    {"blkrep dump /backup/repo --object config", "An object of a repository; without --object the names of all."},
    {"blkrep dump /dev/mapper/data-era-meta", "Which blocks were written in which era."},
    {NULL, NULL},
};

static const struct cli_field dump_line_fields[] = {
    {"text", "text", "The line, as it is printed without --json."},
    {NULL, NULL, NULL},
};

static const struct cli_line dump_lines[] = {
    {"line", "For each line of text.", dump_line_fields},
    {NULL, NULL, NULL},
};

static int dump_line(void *ctx, const char *line)
{
    struct cli *cli = ctx;

    if (cli->json) {
        json_t *event = json_object();
        json_object_set_new(event, "type", json_string("line"));
        json_object_set_new(event, "text", cli_json_text(line));
        cli_event(cli, event);
    } else {
        puts(line);
    }
    return cli_cancel ? -BR_E_CANCELLED : 0;
}

static int dump_feed(struct br_dump *dump, int fd, const char *name, struct br_err *reterr)
{
    BR_AUTO_FREE uint8_t *buffer = malloc(DUMP_READ_BYTES);
    ssize_t got;
    int error = buffer ? 0 : br_err_set(reterr, BR_E_NOMEM, "reading %s", name);

    // Who reads no further (head, a full disk) is told by cli_flush(); reading on would be for nobody.
    while (!error && !ferror(stdout) && (got = read(fd, buffer, DUMP_READ_BYTES)) != 0) {
        error =
            got < 0 ? br_err_os(reterr, errno, "reading %s", name) : br_dump_bytes(dump, buffer, (size_t)got, reterr);
    }
    return error || ferror(stdout) ? error : br_dump_finish(dump, reterr);
}

static int dump_stream(struct cli *cli, int fd, const char *name, struct br_err *reterr)
{
    struct br_dump *dump = NULL;
    int error = br_dump_open(dump_line, cli, cli_flag(cli, "blocks"), &dump, reterr);

    if (!error) {
        error = dump_feed(dump, fd, name, reterr);
    }
    br_dump_close(dump);
    return error;
}

// What the kernel keeps on devices is read here and there, not from front to back.
enum dump_metadata { DUMP_NONE, DUMP_COW_STORE, DUMP_ERA_META };

static enum dump_metadata dump_metadata_of(int fd)
{
    uint8_t block[BR_PDATA_BLOCK_BYTES] = {0};

    if (pread(fd, block, sizeof(block), 0) < (ssize_t)BR_COW_CHUNK_BYTES_MIN) {
        return DUMP_NONE;
    }
    if (br_get_u32(block) == BR_COW_MAGIC) {
        return DUMP_COW_STORE;
    }
    return br_era_is_superblock(block) ? DUMP_ERA_META : DUMP_NONE;
}

static int dump_metadata(struct cli *cli, int fd, enum dump_metadata kind, struct br_err *reterr)
{
    struct br_ring *ring;
    struct br_file *file;
    struct br_file_info info;
    int own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int error = own_fd < 0 ? br_err_os(reterr, errno, "opening it again")
                           : br_ring_open(&(struct br_ring_options){.depth = 32}, &ring, reterr);

    if (error) {
        if (own_fd >= 0) {
            close(own_fd);
        }
        return error;
    }
    error = br_file_wrap(ring, own_fd, &file, reterr);
    if (error) {
        br_ring_close(ring);
        return error;
    }
    error = br_file_stat(file, &info, reterr);
    if (!error && kind == DUMP_COW_STORE) {
        const struct br_cow_store_params params = {
            .file = file, .store_bytes = info.size_bytes, .origin_bytes = UINT64_MAX};
        error = br_cow_store_dump(&params, dump_line, cli, reterr);
    } else if (!error) {
        error = br_era_meta_dump(file, info.size_bytes, dump_line, cli, reterr);
    }
    br_file_close(file);
    br_ring_close(ring);
    return error;
}

static int dump_name(void *ctx, const char *name)
{
    return dump_line(ctx, name);
}

static int dump_repository(struct cli *cli, struct br_err *reterr)
{
    const char *object = cli_text(cli, "object");
    struct repository repository = {0};
    struct br_ring *ring = NULL;
    int error = place_ring(cli, &ring, reterr);

    error = error ? error : repository_open(cli, ring, cli->args[0], true, &repository, reterr);
    if (!error && object) {
        error = br_object_dump(repository.repo, object, cli_flag(cli, "blocks"), dump_line, cli, reterr);
    } else if (!error) {
        error = repository.store.ops->list(repository.store.ctx, "", dump_name, cli, reterr);
    }
    repository_close(&repository);
    br_ring_close(ring);
    return error;
}

static int dump_run(struct cli *cli, struct br_err *reterr)
{
    char name[512];

    if (repository_is(cli, cli->args[0])) {
        return dump_repository(cli, reterr);
    }
    if (cli_text(cli, "object")) {
        return br_err_set(reterr, BR_E_USAGE, "%s is no repository: --object is out of place", cli->args[0]);
    }
    bool from_stdin = !strcmp(cli->args[0], "-");
    int fd = from_stdin ? dup(STDIN_FILENO) : open(cli->args[0], O_RDONLY | O_CLOEXEC | O_NOCTTY);

    br_quote(cli->args[0], name, sizeof(name));
    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s", name);
    }
    const enum dump_metadata kind = dump_metadata_of(fd);
    int error = kind ? dump_metadata(cli, fd, kind, reterr) : dump_stream(cli, fd, name, reterr);
    if (error && reterr->text[0]) {
        br_err_prefix(reterr, "%s", name);
    }
    close(fd);
    return error;
}

const struct cli_verb cmd_dump = {
    .name = "dump",
    .args = "FILE|REPO",
    .args_min = 1,
    .args_max = 1,
    .summary = "Print one of blkrep's binary files, or a tracker's metadata, as text.",
    .description =
        "The kind is told by the first bytes: a delta stream, an identity record, a version tree, the exception store of a dm-snapshot, "
        "the metadata of dm-era. Every checksum is checked; what is damaged is said at its place. FILE may be - for standard input. The last "
        "two are read from a device or a copy of one, never changed; while the kernel writes to them, what is shown is of several moments.\n\n"
        "Of a repository each object can be printed, opened with its key; keys themselves never are.",
    .options = dump_options,
    .examples = dump_examples,
    .see_also = "blkrep-stream(5), blkrep-repository(5), blkrep-send(1)",
    .schema = "blkrep.dump/1",
    .lines = dump_lines,
    .run = dump_run,
};
