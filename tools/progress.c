// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/out.h"

int progress_begin(struct progress *progress, struct cli *cli, struct br_err *reterr)
{
    *progress = (struct progress){.cli = cli, .fd = -1};
    if (cli_text(cli, "progress")) {
        uint64_t fd = cli_number(cli, "progress", 0);
        int flags = fd > INT_MAX ? -1 : fcntl((int)fd, F_GETFL);
        if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
            return br_err_set(reterr, BR_E_USAGE, "--progress: descriptor %llu is not open for writing",
                              (unsigned long long)fd);
        }
        progress->fd = (int)fd;
    }
    const char *term = getenv("TERM");
    progress->terminal = !cli->json && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    return 0;
}

// The rate is smoothed over some seconds; a new phase starts anew, since its bytes are others.
static void progress_rate(struct progress *progress, const struct progress_sample *sample)
{
    if (progress->phase != sample->phase || sample->position_bytes < progress->rate_position) {
        progress->phase = sample->phase;
        progress->rate_position = sample->position_bytes;
        progress->rate_ns = sample->elapsed_ns;
        progress->bytes_per_second = 0;
        return;
    }
    uint64_t ns = sample->elapsed_ns - progress->rate_ns;
    if (ns < BR_NS_PER_S / 2) {
        return;
    }
    double now = (double)(sample->position_bytes - progress->rate_position) * 1e9 / (double)ns;
    progress->bytes_per_second = progress->bytes_per_second > 0 ? 0.7 * progress->bytes_per_second + 0.3 * now : now;
    progress->rate_position = sample->position_bytes;
    progress->rate_ns = sample->elapsed_ns;
}

const struct cli_field progress_fields[] = {
    {"phase", "text", "What is being done."},
    {"position_bytes", "number", "How much of the volume was dealt with."},
    {"size_bytes", "number", "Of how much; 0 when that is not known."},
    {"bytes_shipped", "number", "Sent to the replica so far."},
    {"bytes_resumed", "number", "Not sent, because a run that was cut had sent it."},
    {"bytes_durable", "number", "Of what was sent, what would survive a power cut now."},
    {"bytes_per_second", "number", "How fast the position moves, smoothed."},
    {"seconds", "number", "Since the beginning."},
    {"seconds_left", "number", "Until the end, as far as can be told; not there when it can't."},
    {NULL, NULL, NULL},
};

static json_t *progress_event(const struct progress *progress, const struct progress_sample *sample)
{
    json_t *event = json_object();

    json_object_set_new(event, "type", json_string("progress"));
    json_object_set_new(event, "phase", json_string(sample->phase));
    json_object_set_new(event, "position_bytes", json_integer((json_int_t)sample->position_bytes));
    json_object_set_new(event, "size_bytes", json_integer((json_int_t)sample->size_bytes));
    json_object_set_new(event, "bytes_shipped", json_integer((json_int_t)sample->shipped_bytes));
    json_object_set_new(event, "bytes_resumed", json_integer((json_int_t)sample->resumed_bytes));
    json_object_set_new(event, "bytes_durable", json_integer((json_int_t)sample->durable_bytes));
    json_object_set_new(event, "bytes_per_second", json_integer((json_int_t)progress->bytes_per_second));
    json_object_set_new(event, "seconds", json_real((double)(sample->elapsed_ns / 1000) / 1e6));
    if (progress->bytes_per_second > 0 && sample->size_bytes >= sample->position_bytes) {
        double left = (double)(sample->size_bytes - sample->position_bytes) / progress->bytes_per_second;
        json_object_set_new(event, "seconds_left", json_real(left));
    }
    return event;
}

static void progress_write(struct progress *progress, const struct progress_sample *sample)
{
    json_t *event = progress_event(progress, sample);
    char *text = json_dumps(event, CLI_JSON_FORMAT);
    size_t len = text ? strlen(text) : 0;

    if (text) {
        text[len++] = '\n'; // instead of the final zero
        // A reader that stalls misses a line, one that went away is written to no more: no reason to fail a sync.
        progress->fd = out_write(progress->fd, text, len, 0) < 0 ? -1 : progress->fd;
    }
    free(text);
    json_decref(event);
}

static void progress_line(struct progress *progress, const struct progress_sample *sample)
{
    char position[32];
    char size[32];
    char durable[32];
    char rate[32];
    char left[40] = "";
    char resumed[48] = "";
    char line[320];

    if (sample->resumed_bytes) {
        cli_bytes(progress->cli, sample->resumed_bytes, rate, sizeof(rate));
        snprintf(resumed, sizeof(resumed), ", kept %s", rate);
    }
    cli_bytes(progress->cli, sample->position_bytes, position, sizeof(position));
    cli_bytes(progress->cli, sample->size_bytes, size, sizeof(size));
    cli_bytes(progress->cli, sample->durable_bytes, durable, sizeof(durable));
    br_size_text((uint64_t)progress->bytes_per_second, rate, sizeof(rate));
    if (progress->bytes_per_second > 1 && sample->size_bytes > sample->position_bytes) {
        double seconds = (double)(sample->size_bytes - sample->position_bytes) / progress->bytes_per_second;
        br_duration_text(seconds < 1e9 ? (uint64_t)(seconds * 1e9) : UINT64_MAX / 2, left, sizeof(left));
    }
    unsigned percent =
        sample->size_bytes ? (unsigned)((double)sample->position_bytes * 100 / (double)sample->size_bytes) : 0;
    int len = snprintf(line, sizeof(line), "\r\033[K%s %3u%%  %s of %s, durable %s%s, %s/s%s%s", sample->phase, percent,
                       position, size, durable, resumed, rate, left[0] ? ", left " : "", left);
    progress->shown = out_write(STDERR_FILENO, line, BR_MIN((size_t)len, sizeof(line) - 1), 0) == 1 || progress->shown;
}

void progress_show(struct progress *progress, const struct progress_sample *sample)
{
    progress_rate(progress, sample);
    if (progress->fd >= 0) {
        progress_write(progress, sample);
    }
    if (progress->cli->json && !progress->cli->events) {
        cli_news(progress->cli, progress_event(progress, sample));
    }
    if (progress->terminal) {
        progress_line(progress, sample);
    }
}

void progress_show_sync(struct progress *progress, const struct br_sync_progress *at)
{
    const struct progress_sample sample = {
        .phase = br_sync_phase_name(at->phase),
        .position_bytes = at->position_bytes,
        .size_bytes = at->size_bytes,
        .durable_bytes = at->bytes_durable,
        .shipped_bytes = at->bytes_shipped,
        .resumed_bytes = at->bytes_resumed,
        .elapsed_ns = at->elapsed_ns,
    };

    progress_show(progress, &sample);
}

void progress_end(struct progress *progress)
{
    if (progress->shown) {
        out_write(STDERR_FILENO, "\r\033[K", strlen("\r\033[K"), 0);
        progress->shown = false;
    }
}
