// SPDX-License-Identifier: Apache-2.0
#include "tools/audit.h"
#include "tools/volume/attach.h"

static const struct cli_option detach_options[] = {
    {"keep", CLI_FLAG, NULL,
     "Take the stack down and remember the volume, as a shutdown does: if nothing writes to the device meanwhile, tracking goes on when it is "
     "attached again."},
    {"all", CLI_FLAG, NULL, "Every volume that is known. One that fails does not stop the others."},
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example detach_examples[] = {
    {"blkrep detach data", "The device is plain again; its replicas stay what they are."},
    {"blkrep detach --all --keep", "At shutdown, after file systems are unmounted."},
    {NULL, NULL},
};

static int detach_one(struct cli *cli, const char *name, struct br_err *reterr)
{
    bool keep = cli_flag(cli, "keep");
    struct volume *volume = calloc(1, sizeof(*volume));

    if (!volume) {
        return br_err_set(reterr, BR_E_NOMEM, "detaching %s", name);
    }
    int error = volume_open(cli, name, false, volume, reterr);
    error = error ? error : attach_down(volume, keep, reterr);
    if (!error) {
        cli_report_text(cli, "volume", volume->record.name);
        cli_report_text(cli, "device", volume->record.device);
        cli_print(cli, keep ? "%s: taken down, its volume is remembered" : "%s: detached from %s", name,
                  volume->record.device);
    }
    volume_close(volume);
    free(volume);
    return error;
}

static int detach_all(struct cli *cli, struct br_err *reterr)
{
    json_t *names;
    json_t *name;
    size_t i;
    int first = volume_list(cli, &names, reterr);
    struct br_err err;

    if (first) {
        return first;
    }
    json_array_foreach(names, i, name)
    {
        int error = detach_one(cli, json_string_value(name), &err);
        if (error) {
            cli_warn(cli, "volume %s: %s: %s", json_string_value(name), br_err_message(-error), err.text);
        }
        if (error && !first) {
            first = error;
            *reterr = err;
        }
    }
    json_decref(names);
    return first;
}

static int detach_run(struct cli *cli, struct br_err *reterr)
{
    int error = audit_ready(cli, reterr);

    if (error) {
        return error;
    }
    if (cli_flag(cli, "all") == (cli->arg_count > 0)) {
        return br_err_set(reterr, BR_E_USAGE, "name a volume, or --all");
    }
    return cli_flag(cli, "all") ? detach_all(cli, reterr) : detach_one(cli, cli->args[0], reterr);
}

static const struct cli_field detach_fields[] = {
    {"volume", "text", "Its name; with --all the last one's."},
    {"device", "text", "The device that is plain again."},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_detach = {
    .name = "detach",
    .args = "[NAME]",
    .args_min = 0,
    .args_max = 1,
    .summary = "Take the stack off a device, leaving nothing behind.",
    .description =
        "The stack is taken down, its snapshots, marks, metadata and the place for them are removed. /dev/mapper/NAME must not be in use; a "
        "device under which the stack was slipped while it was in use is given its own table back, in use or not. Replicas and what is "
        "remembered of them stay: the next run to each reads and compares everything, as of any plain device.\n\n"
        "A volume that has snapshots of the user's is not detached before they are removed.",
    .options = detach_options,
    .examples = detach_examples,
    .see_also = "blkrep-attach(1)",
    .schema = "blkrep.detach/1",
    .fields = detach_fields,
    .run = detach_run,
};
