// SPDX-License-Identifier: Apache-2.0
//
// blkrep key list, add, remove, rotate, shred: the ways to a repository's master key, and its epochs.
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/repo/lease.h"
#include "engine/repo/verify.h"
#include "tools/audit.h"
#include "tools/recovery.h"
#include "tools/repository.h"
#include "tools/run_log.h"

struct key_verb {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    struct run_log *log; // of what changes keys; NULL none yet
};

static int key_open(struct cli *cli, bool read_only, struct key_verb *verb, struct br_err *reterr)
{
    char repo[PATH_MAX], point[256];

    *verb = (struct key_verb){.cli = cli};
    int error = repository_word(cli->args[0], repo, point, reterr);
    if (!error && *point) {
        error = br_err_set(reterr, BR_E_USAGE, "keys are a repository's: '@%s' is out of place", point);
    }
    error = error || read_only ? error : audit_ready(cli, reterr);
    error = error ? error : place_ring(cli, &verb->ring, reterr);
    error = error ? error : repository_open(cli, verb->ring, repo, read_only, &verb->repository, reterr);
    cli_report_text(cli, "repository", verb->repository.path[0] ? verb->repository.path : cli->args[0]);
    return error;
}

// A run that will write, for the history.
static void key_begins(struct key_verb *verb)
{
    verb->log = run_log_begin(verb->cli, verb->ring, &verb->repository, true);
}

static void key_close(struct key_verb *verb, int error)
{
    run_log_end(verb->log, error);
    repository_close(&verb->repository);
    br_ring_close(verb->ring);
}

static int key_audit(struct key_verb *verb, const char *act, const char *what, struct br_err *reterr)
{
    json_t *details = json_object();

    json_object_set_new(details, "what", json_string(what));
    return audit_append(verb->cli, act, verb->repository.path, details, reterr);
}

static const struct cli_option key_options[] = {
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

// list --------------------------------------------------------------------------------------------------------------------------------

struct key_list {
    const struct key_verb *verb;
    json_t *keys;
};

static int list_key(void *ctx, const struct br_repo_key *key, int rc, const struct br_err *err)
{
    const struct key_list *list = ctx;
    struct br_uuid opened_by = br_repo_opened_by(list->verb->repository.repo);
    bool used = br_uuid_equal(&opened_by, &key->id);
    char id[BR_UUID_TEXT_BYTES], made[40], label[BR_LABEL_BYTES];
    json_t *entry;

    if (rc < 0) {
        cli_warn(list->verb->cli, "%s", err->text);
        return 0;
    }
    br_uuid_text(&key->id, id);
    br_time_text(key->made_unix_ns, made, sizeof(made));
    br_quote(key->label, label, sizeof(label));
    cli_print(list->verb->cli, "%.8s  %-12s  %s  %s%s", id, br_key_way_name(key->way), made, label,
              used ? "  (opened this)" : "");
    entry = json_object();
    json_object_set_new(entry, "id", json_string(id));
    json_object_set_new(entry, "way", json_string(br_key_way_name(key->way)));
    json_object_set_new(entry, "label", cli_json_text(key->label));
    json_object_set_new(entry, "made", json_string(made));
    json_object_set_new(entry, "opened_this", json_boolean(used));
    json_array_append_new(list->keys, entry);
    return 0;
}

static json_t *list_epochs(const struct key_verb *verb)
{
    size_t count;
    const struct br_repo_epoch_info *infos = br_repo_epochs(verb->repository.repo, &count);
    json_t *list = json_array();
    char made[40], shredded[40];

    for (size_t i = 0; i < count; i++) {
        json_t *entry = json_object();

        br_time_text(infos[i].made_unix_ns, made, sizeof(made));
        br_time_text(infos[i].shredded_unix_ns, shredded, sizeof(shredded));
        json_object_set_new(entry, "number", json_integer(infos[i].number));
        json_object_set_new(entry, "made", infos[i].made_unix_ns ? json_string(made) : json_null());
        json_object_set_new(entry, "shredded", infos[i].shredded ? json_string(shredded) : json_null());
        json_array_append_new(list, entry);
        cli_print(verb->cli, "epoch %-3" PRIu32 " %-12s  %s", infos[i].number, infos[i].shredded ? "shredded" : "",
                  infos[i].shredded ? shredded : made);
    }
    return list;
}

static int key_list_run(struct cli *cli, struct br_err *reterr)
{
    struct key_verb verb;
    struct key_list list = {.verb = &verb, .keys = json_array()};
    int error = key_open(cli, true, &verb, reterr);

    error = error ? error : br_repo_keys(verb.repository.repo, list_key, &list, reterr);
    cli_report_json(cli, "keys", list.keys);
    cli_report_json(cli, "epochs", error ? json_array() : list_epochs(&verb));
    cli_report_number(cli, "epoch", error ? 0 : br_repo_epoch(verb.repository.repo));
    key_close(&verb, error);
    return error;
}

static const struct cli_field key_list_fields[] = {
    {"repository", "text", "Its path."},
    {"keys", "list", "Of the keys."},
    {"keys[].id", "text", "Names it for key remove."},
    {"keys[].way", "text", "passphrase, key file or recovery key."},
    {"keys[].label", "text", "The host that made it, or --label."},
    {"keys[].made", "text", "When, UTC, by that host's clock."},
    {"keys[].opened_this", "boolean", "It is the one that opened the repository now."},
    {"epoch", "number", "That new objects are sealed in."},
    {"epochs", "list", "Of all epochs."},
    {"epochs[].number", "number", "Names it for key shred."},
    {"epochs[].made", "text|null", "When, UTC; null when its key is gone."},
    {"epochs[].shredded", "text|null", "When its key was given up, UTC; null when it was not."},
    {NULL, NULL, NULL},
};

static const struct cli_example key_list_examples[] = {
    {"blkrep key list /backup/repo", "Which keys open it?"},
    {NULL, NULL},
};

const struct cli_verb cmd_key_list = {
    .name = "key list",
    .args = "REPO",
    .args_min = 1,
    .args_max = 1,
    .summary = "List the keys of a repository.",
    .description =
        "Each key, a passphrase, a key file or a recovery key, opens the whole repository. A key that is shown may be damaged, or put there by "
        "whoever can write to the directory; it opens nothing then.",
    .options = key_options,
    .examples = key_list_examples,
    .see_also = "blkrep-key-add(1), blkrep-key-remove(1), blkrep-init(1)",
    .schema = "blkrep.key-list/1",
    .fields = key_list_fields,
    .run = key_list_run,
};

// add ---------------------------------------------------------------------------------------------------------------------------------

static int add_secret(struct key_verb *verb, const struct br_repo_new_key *how, struct br_uuid *ret_id,
                      struct br_err *reterr)
{
    struct repository_secret secret = {0};
    struct br_repo_new_key key = *how;
    int error = repository_new_secret(verb->cli, &verb->repository, &secret, reterr);

    key.secret = secret.secret;
    run_log_stage(error ? NULL : verb->log, "key");
    error = error ? error : br_repo_add_key(verb->repository.repo, &key, ret_id, reterr);
    repository_secret_free(&secret);
    return error;
}

static int key_add_run(struct cli *cli, struct br_err *reterr)
{
    struct key_verb verb = {0};
    char host[256] = "", text[BR_UUID_TEXT_BYTES] = "";
    struct br_repo_new_key key = {
        .scrypt = {.log2_n = BR_SCRYPT_LOG2_N, .block = BR_SCRYPT_BLOCK, .lanes = BR_SCRYPT_LANES}};
    struct br_uuid id;
    bool recovery = cli_flag(cli, "recovery");

    if (recovery && (cli_text(cli, "new-key-file") || cli_text(cli, "new-passphrase-file"))) {
        return br_err_set(reterr, BR_E_USAGE, "--recovery goes with no other new key");
    }
    if (!recovery && cli_text(cli, "sheet")) {
        return br_err_set(reterr, BR_E_USAGE, "--sheet goes with --recovery");
    }
    gethostname(host, sizeof(host) - 1);
    key.label = cli_text(cli, "label") ? cli_text(cli, "label") : host;
    int error = strlen(key.label) >= BR_LABEL_BYTES
                    ? br_err_set(reterr, BR_E_USAGE, "a label of at most %u bytes", BR_LABEL_BYTES - 1)
                    : 0;
    error = error ? error : key_open(cli, false, &verb, reterr);
    if (!error) {
        key_begins(&verb);
    }
    if (!error && recovery) {
        run_log_stage(verb.log, "key");
    }
    error = error      ? error
            : recovery ? recovery_add(cli, &verb.repository, &key, &id, reterr)
                       : add_secret(&verb, &key, &id, reterr);
    if (!error) {
        br_uuid_text(&id, text);
        error = key_audit(&verb, "key-add", text, reterr);
    }
    cli_report_text(cli, "id", *text ? text : NULL);
    if (!error && cli_text(cli, "sheet")) {
        cli_print(cli, "%s: recovery key %.8s; the sheet is %s: print it, then remove the file", verb.repository.path,
                  text, cli_text(cli, "sheet"));
    } else if (!error && !recovery) {
        cli_print(cli, "%s: key %.8s", verb.repository.path, text);
    }
    key_close(&verb, error);
    return error;
}

static const struct cli_option key_add_options[] = {
    {"recovery", CLI_FLAG, NULL, "Draw a recovery key, to be printed and kept away from the machines."},
    {"sheet", CLI_PATH, "FILE",
     "With --recovery: write the page with the key and what to do with it to this new file, not to standard output."},
    {"new-passphrase-file", CLI_PATH, "FILE",
     "The new passphrase is the first line of FILE. Else it is $BLKREP_NEW_PASSPHRASE, or asked for."},
    {"new-key-file", CLI_PATH, "FILE", "The new key is this key file, which is made when it is not there."},
    {"label", CLI_TEXT, "TEXT", "What the list shows; the name of this host when not given."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_field key_add_fields[] = {
    {"repository", "text", "Its path."},
    {"id", "text|null", "Of the new key; null when none was made."},
    {"recovery_key", "text", "With --recovery, and without --sheet: the key, a secret."},
    {NULL, NULL, NULL},
};

static const struct cli_example key_add_examples[] = {
    {"blkrep key add /backup/repo --recovery --sheet sheet.txt",
     "A page to be printed: what opens the repository when all else is lost."},
    {"blkrep key add /backup/repo --new-key-file /etc/blkrep/second.key", "One more key file, for another host."},
    {NULL, NULL},
};

const struct cli_verb cmd_key_add = {
    .name = "key add",
    .args = "REPO",
    .args_min = 1,
    .args_max = 1,
    .summary = "Add a key to a repository: a passphrase, a key file, or a recovery key to be printed.",
    .description =
        "The repository is opened with a key that it has (--passphrase-file, --key-file, $BLKREP_PASSPHRASE, or asked for), and gets another one. "
        "To change a passphrase, add the new one, then remove the old one.",
    .options = key_add_options,
    .examples = key_add_examples,
    .see_also = "blkrep-key-list(1), blkrep-key-remove(1), blkrep-init(1)",
    .schema = "blkrep.key-add/1",
    .fields = key_add_fields,
    .run = key_add_run,
};

// remove ------------------------------------------------------------------------------------------------------------------------------

struct key_search {
    const char *text;
    struct br_uuid id;
    unsigned found;
};

static int search_key(void *ctx, const struct br_repo_key *key, int rc, const struct br_err *err)
{
    struct key_search *search = ctx;
    char id[BR_UUID_TEXT_BYTES];

    (void)rc; // one that is damaged may be removed too
    (void)err;
    br_uuid_text(&key->id, id);
    if (!strncmp(id, search->text, strlen(search->text))) {
        search->id = key->id;
        search->found++;
    }
    return 0;
}

static int key_remove_run(struct cli *cli, struct br_err *reterr)
{
    struct key_search search = {.text = cli->args[1]};
    struct key_verb verb = {.cli = cli};
    char id[BR_UUID_TEXT_BYTES] = "";
    bool few = strlen(search.text) < 4;
    int error =
        few ? br_err_set(reterr, BR_E_USAGE, "a key is named by at least 4 digits of its id: '%s'", search.text) : 0;

    error = error ? error : key_open(cli, false, &verb, reterr);
    if (error && few) {
        cli_report_text(cli, "repository", cli->args[0]);
    }
    error = error ? error : br_repo_keys(verb.repository.repo, search_key, &search, reterr);
    if (!error && search.found != 1) {
        error = br_err_set(reterr, search.found > 1 ? BR_E_USAGE : BR_E_NOT_FOUND, "%s key begins with %s",
                           search.found > 1 ? "more than one" : "no", search.text);
    }
    if (!error) {
        key_begins(&verb);
        run_log_stage(verb.log, "key");
    }
    error = error ? error : br_repo_remove_key(verb.repository.repo, &search.id, reterr);
    if (!error) {
        br_uuid_text(&search.id, id);
        cli_print(
            cli,
            "%s: key %.8s is removed; who copied it before can still use it, until the data are stored anew in another repository",
            verb.repository.path, id);
        error = key_audit(&verb, "key-remove", id, reterr);
    }
    cli_report_text(cli, "id", *id ? id : NULL);
    key_close(&verb, error);
    return error;
}

static const struct cli_field key_remove_fields[] = {
    {"repository", "text", "Its path."},
    {"id", "text|null", "Of the key that was removed; null when none was."},
    {NULL, NULL, NULL},
};

static const struct cli_example key_remove_examples[] = {
    {"blkrep key remove /backup/repo 5f3a09c1", "The first digits of an id, as key list shows it."},
    {NULL, NULL},
};

const struct cli_verb cmd_key_remove = {
    .name = "key remove",
    .args = "REPO ID",
    .args_min = 2,
    .args_max = 2,
    .summary = "Remove a key from a repository.",
    .description =
        "The key that opened the repository for this is never removed, so that one remains that is known to work. What a key opens, the "
        "master key, stays the same: whoever had a removed key and a copy of the repository from then reads on.",
    .options = key_options,
    .examples = key_remove_examples,
    .see_also = "blkrep-key-list(1), blkrep-key-add(1), blkrep-key-rotate(1)",
    .schema = "blkrep.key-remove/1",
    .fields = key_remove_fields,
    .run = key_remove_run,
};

// rotate ------------------------------------------------------------------------------------------------------------------------------

static int key_rotate_run(struct cli *cli, struct br_err *reterr)
{
    struct key_verb verb;
    uint32_t epoch = 0;
    char text[16];
    int error = key_open(cli, false, &verb, reterr);

    if (!error) {
        key_begins(&verb);
        run_log_stage(verb.log, "key");
    }
    error = error ? error : br_repo_rotate(verb.repository.repo, &epoch, reterr);
    if (!error) {
        snprintf(text, sizeof(text), "%" PRIu32, epoch);
        cli_print(cli, "%s: epoch %" PRIu32 "; what is stored from now on is sealed with its key", verb.repository.path,
                  epoch);
        error = key_audit(&verb, "key-rotate", text, reterr);
    }
    cli_report_number(cli, "epoch", error ? 0 : epoch);
    key_close(&verb, error);
    return error;
}

static const struct cli_field key_rotate_fields[] = {
    {"repository", "text", "Its path."},
    {"epoch", "number", "The new one."},
    {NULL, NULL, NULL},
};

static const struct cli_example key_rotate_examples[] = {
    {"blkrep key rotate /backup/repo", "Once a year, say."},
    {NULL, NULL},
};

const struct cli_verb cmd_key_rotate = {
    .name = "key rotate",
    .args = "REPO",
    .args_min = 1,
    .args_max = 1,
    .summary = "Begin a new epoch of a repository's data key.",
    .description =
        "Data are sealed with the key of an epoch, and that with the master key. A new epoch encrypts nothing anew: what is there stays as it is and "
        "readable; what comes is sealed with another key.",
    .options = key_options,
    .examples = key_rotate_examples,
    .see_also = "blkrep-key-list(1), blkrep-repository(5)",
    .schema = "blkrep.key-rotate/1",
    .fields = key_rotate_fields,
    .run = key_rotate_run,
};

// shred -------------------------------------------------------------------------------------------------------------------------------

struct shredding {
    struct key_verb verb;
    uint32_t epoch;
    struct repository_points points;
    struct br_point *lost; // that nobody could read afterwards
    size_t lost_count;
    uint64_t points_removed, packs_removed, bytes_removed;
    bool done;
    struct br_err *reterr;
};

static void shred_lose(void *ctx, const struct br_point *point)
{
    struct shredding *shredding = ctx;

    shredding->lost[shredding->lost_count++] = *point;
}

static int shred_order(const void *a, const void *b)
{
    const struct br_point *left = a, *right = b;
    int order = memcmp(left->volume.bytes, right->volume.bytes, BR_UUID_BYTES);

    return order ? order : (left->counter > right->counter) - (left->counter < right->counter);
}

// Points that are sealed in the epoch, then those that need a chunk which no other epoch's packs have.
static int shred_look(struct shredding *shredding, struct br_err *reterr)
{
    struct cli *cli = shredding->verb.cli;
    struct br_repo *repo = shredding->verb.repository.repo;
    struct repository_points *points = &shredding->points;
    struct br_repo_verify_result result;
    char name[BR_OBJECT_NAME_BYTES];
    uint32_t epoch;
    size_t kept = 0;
    int error = repository_points_of(cli, &shredding->verb.repository, NULL, points, reterr);

    shredding->lost = error ? NULL : calloc(points->count + 1, sizeof(*shredding->lost));
    if (!error && !shredding->lost) {
        error = br_err_set(reterr, BR_E_NOMEM, "the points");
    }
    for (size_t i = 0; !error && i < points->count; i++) {
        const struct br_point *point = &points->points[i];

        br_name_point(&point->volume, &point->id, name);
        error = br_repo_epoch_of(repo, name, &epoch, reterr);
        if (!error && epoch == shredding->epoch) {
            shred_lose(shredding, point);
        } else {
            points->points[kept++] = *point;
        }
    }
    if (error) {
        return error;
    }
    points->count = kept;
    if (kept) {
        qsort(points->points, kept, sizeof(*points->points), shred_order);
    }
    const struct br_repo_verify_params params = {
        .repo = repo,
        .points = points->points,
        .point_count = points->count,
        .without_epoch = shredding->epoch,
        .incomplete = shred_lose,
        .ctx = shredding,
        .cancel = &cli_cancel,
    };
    return br_repo_verify(&params, &result, reterr);
}

static json_t *shred_tell(const struct shredding *shredding)
{
    struct cli *cli = shredding->verb.cli;
    json_t *list = json_array();

    for (size_t i = 0; i < shredding->lost_count; i++) {
        const struct br_point *point = &shredding->lost[i];
        char id[BR_UUID_TEXT_BYTES], taken[40], label[BR_LABEL_BYTES];

        br_uuid_text(&point->id, id);
        br_time_text(point->taken_unix_ns, taken, sizeof(taken));
        br_quote(point->label, label, sizeof(label));
        cli_print(cli, "%s  %.8s  %s  %s", cli_flag(cli, "dry-run") ? "would be lost" : "is lost", id, taken, label);
        json_array_append_new(list, json_string(id));
    }
    return list;
}

static int shred_parse(struct shredding *shredding, struct br_err *reterr)
{
    const char *text = shredding->verb.cli->args[1];
    char *end;
    unsigned long number = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || !number || number > BR_EPOCH_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "'%s' is no epoch's number (blkrep key list)", text);
    }
    shredding->epoch = (uint32_t)number;
    return 0;
}

// What would refuse it, asked before anything is looked for.
static int shred_check(const struct shredding *shredding, struct br_err *reterr)
{
    const struct br_repo *repo = shredding->verb.repository.repo;
    size_t count;
    const struct br_repo_epoch_info *infos = br_repo_epochs(repo, &count);
    bool known = false;

    for (size_t i = 0; i < count; i++) {
        known = known || infos[i].number == shredding->epoch;
    }
    if (!br_repo_config_of(repo)->encrypted) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "the repository is not encrypted: there is no key to give up");
    }
    if (!known) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "epoch %" PRIu32, shredding->epoch);
    }
    return shredding->epoch == br_repo_epoch(repo)
               ? br_err_set(reterr, BR_E_REFUSED,
                            "new data is sealed in epoch %" PRIu32 ": begin another one (blkrep key rotate) first",
                            shredding->epoch)
               : 0;
}

// The key goes first: whatever comes between, what was to be gone is. The rest is clearing up, and can be gone on with.
static int shred_do(struct shredding *shredding, struct br_err *reterr)
{
    struct key_verb *verb = &shredding->verb;
    struct br_repo *repo = verb->repository.repo;
    char text[16];

    snprintf(text, sizeof(text), "%" PRIu32, shredding->epoch);
    int error = br_repo_shred(repo, shredding->epoch, reterr);
    if (error) {
        return error;
    }
    shredding->done = true;
    for (size_t i = 0; !error && i < shredding->lost_count; i++) {
        error = br_repo_remove_point(repo, &shredding->lost[i].volume, &shredding->lost[i].id, reterr);
    }
    error = error ? error
                  : br_repo_clear_shredded(repo, &shredding->points_removed, &shredding->packs_removed,
                                           &shredding->bytes_removed, reterr);
    int audit = key_audit(verb, "key-shred", text, error ? NULL : reterr);
    return error ? error : audit;
}

static int refuse_held(void *ctx, const struct br_point_mark *hold, int rc, const struct br_err *err)
{
    const struct shredding *shredding = ctx;
    char id[BR_UUID_TEXT_BYTES];

    (void)rc; // one that does not open holds all the same
    (void)err;
    for (size_t i = 0; i < shredding->lost_count; i++) {
        if (br_uuid_equal(&shredding->lost[i].id, &hold->point) &&
            br_uuid_equal(&shredding->lost[i].volume, &hold->volume)) {
            br_uuid_text(&hold->point, id);
            return br_err_set(shredding->reterr, BR_E_REFUSED,
                              "point %.8s is held, and would be lost: blkrep unhold lifts that", id);
        }
    }
    return 0;
}

static int shred_confirm(struct shredding *shredding, struct br_err *reterr)
{
    char question[200], word[16];

    snprintf(word, sizeof(word), "%" PRIu32, shredding->epoch);
    snprintf(question, sizeof(question), "all that is sealed in epoch %s is lost for ever, and %zu point%s with it",
             word, shredding->lost_count, shredding->lost_count == 1 ? "" : "s");
    return cli_confirm(shredding->verb.cli, word, question, reterr);
}

static int key_shred_run(struct cli *cli, struct br_err *reterr)
{
    struct shredding shredding = {.verb = {.cli = cli}};
    bool dry_run = cli_flag(cli, "dry-run");
    char bytes[32];
    int error = shred_parse(&shredding, reterr);

    shredding.verb.cli = cli;
    error = error ? error : key_open(cli, dry_run, &shredding.verb, reterr);
    error = error ? error : shred_check(&shredding, reterr);
    error = error ? error : shred_look(&shredding, reterr);
    shredding.reterr = reterr;
    error = error || dry_run ? error : br_hold_each(shredding.verb.repository.repo, refuse_held, &shredding, reterr);
    error = error || dry_run ? error : shred_confirm(&shredding, reterr);
    if (!error && !dry_run) {
        key_begins(&shredding.verb);
    }
    run_log_stage(shredding.verb.log, "shred");
    error = error || dry_run ? error : shred_do(&shredding, reterr);
    if (shredding.done) {
        struct br_repo_refreshed gone;
        struct br_err none = {0};

        // That its packs are gone is no news for the next run.
        if (br_repo_refresh(shredding.verb.repository.repo, &gone, &none)) {
            cli_warn(cli, "looking for packs: %s", none.text);
        }
        repository_removed(cli, &shredding.verb.repository);
    }
    cli_report_number(cli, "epoch", shredding.epoch);
    cli_report_bool(cli, "dry_run", dry_run);
    cli_report_bool(cli, "shredded", shredding.done);
    cli_report_json(cli, "points_lost", error && !shredding.done ? json_array() : shred_tell(&shredding));
    cli_report_number(cli, "packs_removed", shredding.packs_removed);
    cli_report_number(cli, "bytes_removed", shredding.bytes_removed);
    if (!error && !dry_run) {
        cli_bytes(cli, shredding.bytes_removed, bytes, sizeof(bytes));
        cli_print(cli, "%s: the key of epoch %" PRIu32 " is gone; %zu points with it, %s removed",
                  shredding.verb.repository.path, shredding.epoch, shredding.lost_count, bytes);
    } else if (!error) {
        cli_say(cli, "%zu points would be lost; nothing was changed", shredding.lost_count);
    }
    free(shredding.lost);
    repository_points_free(&shredding.points);
    key_close(&shredding.verb, error);
    return error;
}

static const struct cli_option key_shred_options[] = {
    {"dry-run", CLI_FLAG, NULL, "Say which points would be lost; change nothing."},
    {"yes", CLI_FLAG, NULL, "Don't ask; for scripts."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_field key_shred_fields[] = {
    {"repository", "text", "Its path."},
    {"epoch", "number", "Whose key it is."},
    {"dry_run", "boolean", "Nothing was changed."},
    {"shredded", "boolean", "The key is gone."},
    {"points_lost", "list", "Ids of the points that need something that is sealed with it; they are removed."},
    {"packs_removed", "number", "That nobody can open any more."},
    {"bytes_removed", "number", "In them."},
    {NULL, NULL, NULL},
};

static const struct cli_example key_shred_examples[] = {
    {"blkrep key shred /backup/repo 1 --dry-run", "Which points need data of the first epoch?"},
    {NULL, NULL},
};

const struct cli_verb cmd_key_shred = {
    .name = "key shred",
    .args = "REPO EPOCH",
    .args_min = 2,
    .args_max = 2,
    .summary = "Give the key of an epoch up: what was sealed with it is gone for ever.",
    .description =
        "For data that must not be readable any more, also in copies of the repository's files: the key of one epoch (`blkrep key list`, `blkrep key "
        "rotate`) is removed, and no other key brings it back. Points that were made in that epoch are lost, and so are later ones that share data with "
        "them; all of these are named first, and removed with the packs that nobody can open. The epoch that new data is sealed in can't be given up.\n\n"
        "Who copied the epoch's object, and has a key of the repository, can still read copies of its packs. The next backup of a volume stores anew what "
        "it lost. A run that is cut when the key is gone already is finished by the same command.",
    .options = key_shred_options,
    .examples = key_shred_examples,
    .see_also = "blkrep-key-rotate(1), blkrep-key-list(1), blkrep-repository(5)",
    .schema = "blkrep.key-shred/1",
    .fields = key_shred_fields,
    .run = key_shred_run,
};
