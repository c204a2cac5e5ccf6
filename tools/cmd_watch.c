// SPDX-License-Identifier: Apache-2.0
//
// What must be done for attached volumes while no run is under way: stores of held snapshots grow before they fill, and what the superblocks
// say is noted, so that after a crash a mount of before is known from one that came between.
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "tools/audit.h"
#include "tools/notify.h"
#include "tools/volume/continuity.h"
#include "tools/volume/stack.h"
#include "tools/volume/tend.h"

#define WATCH_NOTE_NS    (30 * BR_NS_PER_S)
#define WATCH_AWAY_LOOKS 20u // in a row: whoever takes a stack down or builds it is done by then

static const struct cli_option watch_options[] = {
    {"once", CLI_FLAG, NULL, "Look once and end."},
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example watch_examples[] = {
    {"blkrep watch", "What blkrep-watch.service runs."},
    {NULL, NULL},
};

// One volume, open for as long as it is attached: a connection to the helper is a process.
struct watch_volume {
    struct volume volume;
    bool seen;      // in this look's list
    bool stale;     // what it is open through is gone: it is opened anew with the next note
    uint32_t away;  // looks in a row at which the stack did not stand
    char said[200]; // what is wrong with it, as it was said last: a look that finds the same says nothing
    struct watch_volume *next;
};

struct watch {
    struct cli *cli;
    struct br_ring *ring;
    struct watch_volume *volumes;
    uint64_t noted_ns;
    uint64_t grown;
    uint64_t gone;
};

static uint64_t watch_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BR_NS_PER_S + (uint64_t)now.tv_nsec;
}

// Of numbers that only grow: differs when one of them did.
static uint64_t watch_seen(const struct volume_record *record)
{
    uint64_t sum = record->era_seen;

    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        sum += record->snapshots[i].used_seen_bytes;
    }
    return sum;
}

static int watch_note(struct watch *watch, struct volume *volume, struct br_err *reterr)
{
    struct br_file *file;
    uint64_t bytes;
    const char *older;
    int error = volume_lock(volume, reterr);

    if (error) {
        return error;
    }
    uint64_t before = watch_seen(&volume->record);
    error = stack_note(volume, false, &older, reterr);
    if (!error && watch_seen(&volume->record) != before) {
        error = volume_save(volume, reterr);
    }
    error = error ? error : stack_open(volume, watch->ring, volume_top(&volume->record), false, &file, &bytes, reterr);
    if (!error) {
        br_file_drop_cache(file, 0, 4096);
        error = continuity_note_view(volume, file, reterr);
        br_file_close(file);
    }
    volume_unlock(volume);
    return error;
}

// Looks come four times a second: what is wrong is said once, "" when nothing is any more.
static void watch_say(struct watch *watch, struct watch_volume *of, const char *text)
{
    if (strncmp(of->said, text, sizeof(of->said) - 1) != 0 && text[0]) {
        cli_say(watch->cli, "volume %s: %s", of->volume.record.name, text);
    }
    snprintf(of->said, sizeof(of->said), "%s", text);
}

// Nobody took it down in order, and nobody is building it: somebody gave the device another table, and nothing is tracked. What LVM keeps is
// there or not with its volume.
static bool watch_is_torn(struct volume *volume)
{
    struct volume *now = calloc(1, sizeof(*now));
    struct br_err err;
    bool torn = now && volume_beside(volume, volume->record.name, now, &err) > 0 && now->record.up &&
                !volume_is_lvm(&now->record);

    if (now) {
        volume_close(now);
    }
    free(now);
    return torn;
}

static void watch_one(struct watch *watch, struct watch_volume *of, bool note)
{
    struct volume *volume = &of->volume;
    const char *name = volume->record.name;
    struct tend_found found = {0};
    struct br_err err = {0};
    char text[sizeof(of->said)] = "";
    int up = stack_is_up(volume, &err);
    int error = up < 0 ? up : 0;

    of->away = up ? 0 : of->away + 1;
    if (up > 0) {
        error = tend_volume(volume, 0, &found, &err);
    }
    if (!error && up > 0 && note) {
        error = watch_note(watch, volume, &err);
    }
    if (of->away && of->away != WATCH_AWAY_LOOKS) {
        return;
    }
    if (error && error != -BR_E_NO_SPACE) {
        snprintf(text, sizeof(text), "%s: %.140s", br_err_message(-error), err.text);
    } else if (of->away && watch_is_torn(volume)) {
        snprintf(text, sizeof(text), "its stack does not stand, nothing tracks it: run blkrep attach %s", name);
    }
    of->stale = error == -BR_E_PEER || error == -BR_E_PROTOCOL || error == -BR_E_TIMEOUT || error == -BR_E_NOT_FOUND;
    watch_say(watch, of, text);
    if (found.gone) {
        cli_say(watch->cli, "volume %s: snapshots %s overflowed and are gone; the volume goes on", name,
                found.gone_numbers);
    }
    watch->grown += found.grown;
    watch->gone += found.gone;
}

// The volume of that name, opened when it is new. NULL when it can't be: the next look tries again.
static struct watch_volume *watch_find(struct watch *watch, const char *name)
{
    struct br_err err;

    for (struct watch_volume *at = watch->volumes; at; at = at->next) {
        if (!strcmp(at->volume.record.name, name)) {
            return at;
        }
    }
    struct watch_volume *found = calloc(1, sizeof(*found));
    if (!found) {
        return NULL;
    }
    if (volume_open(watch->cli, name, false, &found->volume, &err)) {
        volume_close(&found->volume);
        free(found);
        return NULL;
    }
    found->next = watch->volumes;
    watch->volumes = found;
    return found;
}

// Closes those that this look did not see, or all.
static void watch_close(struct watch *watch, bool all)
{
    for (struct watch_volume **at = &watch->volumes; *at;) {
        struct watch_volume *volume = *at;
        if (volume->seen && !all) {
            at = &volume->next;
            continue;
        }
        *at = volume->next;
        volume_close(&volume->volume);
        free(volume);
    }
}

static int watch_look(struct watch *watch, struct br_err *reterr)
{
    json_t *names;
    json_t *name;
    size_t i;
    uint64_t now_ns = watch_now_ns();
    bool note = !watch->noted_ns || now_ns - watch->noted_ns >= WATCH_NOTE_NS;
    int error = volume_list(watch->cli, &names, reterr);

    if (error) {
        return error;
    }
    for (struct watch_volume *at = watch->volumes; at; at = at->next) {
        at->seen = false;
    }
    json_array_foreach(names, i, name)
    {
        struct watch_volume *volume = watch_find(watch, json_string_value(name));
        if (volume) {
            volume->seen = !(note && volume->stale);
            watch_one(watch, volume, note);
        }
    }
    watch_close(watch, false);
    watch->noted_ns = note ? now_ns : watch->noted_ns;
    json_decref(names);
    return 0;
}

static int watch_run(struct cli *cli, struct br_err *reterr)
{
    const struct timespec nap = {.tv_nsec = (long)TEND_NS};
    struct watch watch = {.cli = cli};
    int error = audit_ready(cli, reterr);

    error = error ? error : place_ring(cli, &watch.ring, reterr);
    if (!error) {
        notify("READY=1");
    }
    while (!error && !cli_cancel) {
        error = watch_look(&watch, reterr);
        if (cli_flag(cli, "once")) {
            break;
        }
        nanosleep(&nap, NULL);
    }
    watch_close(&watch, true);
    br_ring_close(watch.ring);
    cli_report_number(cli, "grown", watch.grown);
    cli_report_number(cli, "gone", watch.gone);
    return error;
}

static const struct cli_field watch_fields[] = {
    {"grown", "number", "Stores that were made larger."},
    {"gone", "number", "Snapshots that overflowed and were removed."},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_watch = {
    .name = "watch",
    .args = "",
    .args_min = 0,
    .args_max = 0,
    .summary = "Look after the snapshots of attached volumes between runs; a service.",
    .description =
        "With tracker cow a snapshot is held from one run to the next. watch makes its store larger before it is full, as long as the "
        "volume's place allows; when there is no more room the oldest held snapshot is given up for the others. It removes what overflowed all "
        "the same: then the next run compares everything, and the volume "
        "itself goes on. A stack that somebody else took down, or gave another table, is named, once. It also notes what a file system's superblock says of its last mount, which after a crash tells a mount without the "
        "stack from those before.\n\nA run looks after its own snapshot.",
    .options = watch_options,
    .examples = watch_examples,
    .see_also = "blkrep-attach(1), blkrep-snapshot-list(1)",
    .schema = "blkrep.watch/1",
    .fields = watch_fields,
    .run = watch_run,
};
