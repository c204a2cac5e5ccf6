// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/codec/dump.h"
#include "tools/cli.h"

#define DUMP_READ_BYTES (256 * 1024)

static const struct cli_option dump_options[] = {
    {"blocks", CLI_FLAG, NULL, "Also a line for each block of a stream's data."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example dump_examples[] = {
    {"blkrep dump delta.blkrep", "A stream that blkrep send wrote."},
    {"blkrep dump /backup/disk.img.blkrep/identity", "What a replica says of itself."},
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

static int dump_run(struct cli *cli, struct br_err *reterr)
{
    struct br_dump *dump = NULL;
    char name[512];
    bool from_stdin = !strcmp(cli->args[0], "-");
    int fd = from_stdin ? dup(STDIN_FILENO) : open(cli->args[0], O_RDONLY | O_CLOEXEC | O_NOCTTY);

    br_quote(cli->args[0], name, sizeof(name));
    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s", name);
    }
    int error = br_dump_open(dump_line, cli, cli_flag(cli, "blocks"), &dump, reterr);
    if (!error) {
        error = dump_feed(dump, fd, name, reterr);
    }
    if (error && reterr->text[0]) {
        br_err_prefix(reterr, "%s", name);
    }
    br_dump_close(dump);
    close(fd);
    return error;
}

const struct cli_verb cmd_dump = {
    .name = "dump",
    .args = "FILE",
    .args_min = 1,
    .args_max = 1,
    .summary = "Print one of blkrep's binary files as text.",
    .description =
        "The kind is told by the file's first bytes: a delta stream, an identity record, a version tree. Every checksum is checked; "
        "what is damaged is said at its place. FILE may be - for standard input.",
    .options = dump_options,
    .examples = dump_examples,
    .see_also = "blkrep-stream(5), blkrep-send(1)",
    .schema = "blkrep.dump/1",
    .lines = dump_lines,
    .run = dump_run,
};
