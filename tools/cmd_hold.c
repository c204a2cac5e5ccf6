// SPDX-License-Identifier: Apache-2.0
//
// blkrep hold, unhold: points that no prune removes.
#include <stdio.h>
#include <unistd.h>

#include "engine/repo/lease.h"
#include "tools/audit.h"
#include "tools/repository.h"
#include "tools/run_log.h"

static const struct cli_option hold_options[] = {
    {"why", CLI_TEXT, "TEXT", "For people: what it is held for."},
    {"volume", CLI_TEXT, "VOLUME", "Which volume's, where the word names a point of several."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_option unhold_options[] = {
    {"volume", CLI_TEXT, "VOLUME", "Which volume's, where the word names a point of several."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static int put_hold(struct cli *cli, struct repository *repository, const struct br_point *point, struct br_err *reterr)
{
    const char *why = cli_text(cli, "why");
    struct br_point_mark hold = {
        .volume = point->volume, .point = point->id, .made_unix_ns = br_ring_unix_ns(repository->store.ring)};

    if (why && strlen(why) >= sizeof(hold.why)) {
        return br_err_set(reterr, BR_E_USAGE, "--why: at most %zu bytes", sizeof(hold.why) - 1);
    }
    gethostname(hold.host, sizeof(hold.host) - 1);
    snprintf(hold.why, sizeof(hold.why), "%s", why ? why : "");
    return br_hold_put(repository->repo, &hold, reterr);
}

static int hold_or_not(struct cli *cli, bool hold, struct br_err *reterr)
{
    struct br_ring *ring = NULL;
    struct repository repository = {0};
    struct br_point point;
    struct run_log *log = NULL;
    bool so_already = false;
    char repo[PATH_MAX], word[256], id[BR_UUID_TEXT_BYTES] = "";
    int error = repository_word(cli->args[0], repo, word, reterr);

    if (!error && !*word) {
        error = br_err_set(reterr, BR_E_USAGE, "name a point: REPO@POINT");
    }
    error = error ? error : audit_ready(cli, reterr);
    error = error ? error : place_ring(cli, &ring, reterr);
    error = error ? error : repository_open(cli, ring, repo, false, &repository, reterr);
    error = error ? error : repository_point(cli, &repository, word, &point, reterr);
    if (!error) {
        json_t *details = json_object();

        br_uuid_text(&point.id, id);
        log = run_log_begin(cli, ring, &repository, true);
        run_log_stage(log, hold ? "hold" : "unhold");
        error = hold ? put_hold(cli, &repository, &point, reterr)
                     : br_hold_remove(repository.repo, &point.volume, &point.id, reterr);
        if (error == -BR_E_EXISTS || error == -BR_E_NOT_FOUND) {
            so_already = true;
            error = 0;
        }
        json_object_set_new(details, "point", json_string(id));
        if (hold && cli_text(cli, "why")) {
            json_object_set_new(details, "why", cli_json_text(cli_text(cli, "why")));
        }
        if (error) {
            json_decref(details);
        } else {
            error = audit_append(cli, hold ? "hold" : "unhold", repository.path, details, reterr);
        }
    }
    if (!error && !cli->json) {
        cli_print(cli, "%s: point %.8s of %s %s", repository.path, id, point.label,
                  so_already ? hold ? "is held already" : "is not held"
                  : hold     ? "is held: no prune removes it"
                             : "is held no longer");
    }
    cli_report_text(cli, "repository", repository.path[0] ? repository.path : cli->args[0]);
    cli_report_text(cli, "point", *id ? id : NULL);
    cli_report_bool(cli, "changed", !error && !so_already);
    run_log_end(log, error);
    repository_close(&repository);
    br_ring_close(ring);
    return error;
}

static int hold_run(struct cli *cli, struct br_err *reterr)
{
    return hold_or_not(cli, true, reterr);
}

static int unhold_run(struct cli *cli, struct br_err *reterr)
{
    return hold_or_not(cli, false, reterr);
}

static const struct cli_field hold_fields[] = {
    {"repository", "text", "Its path."},
    {"point", "text|null", "The id of the point."},
    {"changed", "boolean", "It was not so already."},
    {NULL, NULL, NULL},
};

static const struct cli_example hold_examples[] = {
    {"blkrep hold /backup/repo@latest --volume disk.img --why 'before the upgrade'", "Keep this one."},
    {NULL, NULL},
};

static const struct cli_example unhold_examples[] = {
    {"blkrep unhold /backup/repo@latest --volume disk.img", "The rules may remove it again."},
    {NULL, NULL},
};

const struct cli_verb cmd_hold = {
    .name = "hold",
    .args = "REPO@POINT",
    .args_min = 1,
    .args_max = 1,
    .summary = "Hold a recovery point: no prune removes it.",
    .description =
        "A point that is held stays whatever rules blkrep prune is given, until blkrep unhold. To hold one that is held changes nothing.",
    .options = hold_options,
    .examples = hold_examples,
    .see_also = "blkrep-unhold(1), blkrep-prune(1), blkrep-points(1)",
    .schema = "blkrep.hold/1",
    .fields = hold_fields,
    .run = hold_run,
};

const struct cli_verb cmd_unhold = {
    .name = "unhold",
    .args = "REPO@POINT",
    .args_min = 1,
    .args_max = 1,
    .summary = "Let a recovery point that was held be judged by rules again.",
    .description = "Of a point that is not held nothing changes.",
    .options = unhold_options,
    .examples = unhold_examples,
    .see_also = "blkrep-hold(1), blkrep-prune(1), blkrep-points(1)",
    .schema = "blkrep.hold/1",
    .fields = hold_fields,
    .run = unhold_run,
};
