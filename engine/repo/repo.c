// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/repo.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/units.h"

#define DIRECTORIES   32u           // of packs, read at once
#define DIRECTORY_END (64u * 1024u) // of a pack, that is read in the hope that its directory lies in it

struct epoch {
    uint32_t number;
    struct br_key key;
};

struct br_repo {
    struct br_store store;
    struct br_repo_config config;
    struct br_key master;
    struct br_uuid opened_by;
    struct epoch *epochs; // ascending, those that are not shredded
    size_t epoch_count;
    struct br_repo_epoch_info *infos; // of all, ascending
    size_t info_count;
    bool epochs_bad; // one of them does not open: nothing new is sealed, since it may be the newest
    struct br_index *index;
    uint64_t looked_ns; // by br_repo_look_again(); 0 never
};

static void draw_salt(struct br_ring *ring, uint8_t salt[BR_SALT_BYTES])
{
    br_ring_random(ring, salt, BR_SALT_BYTES);
}

static int get_object(const struct br_store *store, const char *name, struct br_buf *bytes, struct br_err *reterr)
{
    br_buf_reset(bytes);
    return br_store_read_all(store, name, BR_OBJECT_BYTES_MAX, bytes, reterr);
}

static int put_object(const struct br_store *store, const char *name, const struct br_buf *bytes, struct br_err *reterr)
{
    return store->ops->put(store->ctx, name, bytes->data, bytes->len, reterr);
}

// Making ------------------------------------------------------------------------------------------------------------------------------

static int opener_of(const struct br_repo_secret *secret, enum br_key_way way, const struct br_scrypt *scrypt,
                     struct br_key *ret_opener, struct br_err *reterr)
{
    switch (way) {
    case BR_KEY_FILE: return br_key_of_file(secret->key_file, ret_opener, reterr);
    case BR_KEY_RECOVERY: return br_key_of_recovery(secret->recovery, ret_opener, reterr);
    default: return br_key_from_passphrase(secret->passphrase, secret->passphrase_len, scrypt, ret_opener, reterr);
    }
}

// Behind the key, so that a sum without a key is one that was lost.
static int put_key_sum(const struct br_store *store, const struct br_repo_key *key, const struct br_key *master,
                       struct br_buf *bytes, struct br_err *reterr)
{
    uint8_t salt[BR_SALT_BYTES];
    char name[BR_OBJECT_NAME_BYTES];
    struct br_hash sum;
    int rc = br_key_sum_of(bytes->data, bytes->len, &sum, reterr);

    draw_salt(store->ring, salt);
    br_buf_reset(bytes);
    rc = rc < 0 ? rc : br_key_sum_seal(&key->id, &key->repository, salt, master, &sum, bytes, reterr);
    br_name_key_sum(&key->id, name);
    return rc < 0 ? rc : put_object(store, name, bytes, reterr);
}

static int put_key(const struct br_store *store, const struct br_repo_new_key *new_key,
                   const struct br_uuid *repository, const struct br_key *master, struct br_uuid *ret_id,
                   struct br_err *reterr)
{
    const struct br_repo_secret *secret = &new_key->secret;
    struct br_repo_key key = {
        .id = br_ring_new_uuid(store->ring),
        .repository = *repository,
        .way = secret->key_file   ? BR_KEY_FILE
               : secret->recovery ? BR_KEY_RECOVERY
                                  : BR_KEY_PASSPHRASE,
        .scrypt = new_key->scrypt,
        .made_unix_ns = br_ring_unix_ns(store->ring),
    };
    uint8_t salt[BR_SALT_BYTES];
    BR_AUTO_WIPE struct br_key opener = {0};
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf bytes = {0};

    snprintf(key.label, sizeof(key.label), "%s", new_key->label ? new_key->label : "");
    draw_salt(store->ring, key.scrypt.salt);
    draw_salt(store->ring, salt);
    int rc = opener_of(secret, key.way, &key.scrypt, &opener, reterr);
    rc = rc < 0 ? rc : br_repo_key_seal(&key, salt, &opener, master, &bytes, reterr);
    br_name_key(&key.id, name);
    rc = rc < 0 ? rc : put_object(store, name, &bytes, reterr);
    rc = rc < 0 ? rc : put_key_sum(store, &key, master, &bytes, reterr);
    br_buf_free(&bytes);
    *ret_id = key.id;
    return rc;
}

static int put_epoch(const struct br_store *store, uint32_t epoch, const struct br_uuid *repository,
                     const struct br_key *master, struct br_buf *bytes, struct br_err *reterr)
{
    BR_AUTO_WIPE struct br_key key;
    uint8_t salt[BR_SALT_BYTES];
    char name[BR_OBJECT_NAME_BYTES];

    br_ring_random(store->ring, key.bytes, sizeof(key.bytes));
    draw_salt(store->ring, salt);
    br_buf_reset(bytes);
    int rc = br_epoch_seal(epoch, repository, salt, master, &key, br_ring_unix_ns(store->ring), bytes, reterr);
    br_name_epoch(epoch, name);
    return rc < 0 ? rc : put_object(store, name, bytes, reterr);
}

static int any_name(void *ctx, const char *name)
{
    char *found = ctx;

    snprintf(found, BR_OBJECT_NAME_BYTES, "%s", name);
    return 1;
}

struct leftovers {
    const struct br_store *store;
    struct br_err *reterr;
};

static int remove_leftover(void *ctx, const char *name)
{
    const struct leftovers *leftovers = ctx;
    const struct br_store *store = leftovers->store;
    struct br_object object;
    struct br_buf bytes = {0};
    uint32_t epoch;
    int rc = 0;

    // Nothing else is ours to remove.
    if (br_name_parse_epoch(name, &epoch) && !get_object(store, name, &bytes, NULL) &&
        !br_object_head(bytes.data, bytes.len, &object, NULL, NULL, NULL) && object.kind == BR_OBJECT_EPOCH) {
        rc = store->ops->remove(store->ctx, name, leftovers->reterr);
    }
    br_buf_free(&bytes);
    return rc;
}

// Of an init that was cut: the epoch of a repository that never was. Its keys are in nobody's way.
static int remove_leftovers(const struct br_store *store, struct br_err *reterr)
{
    struct leftovers leftovers = {.store = store, .reterr = reterr};
    int rc = store->ops->list(store->ctx, "epochs/", remove_leftover, &leftovers, reterr);

    return rc < 0 ? rc : store->ops->settle(store->ctx, reterr);
}

// Two that make a repository in one place at once would exchange each other's epochs: the one whose config came first looks again.
static int init_check(const struct br_store *store, const struct br_key *master, struct br_buf *bytes,
                      struct br_err *reterr)
{
    struct br_key key;
    uint64_t made_unix_ns;
    char name[BR_OBJECT_NAME_BYTES];

    br_name_epoch(1, name);
    int rc = get_object(store, name, bytes, reterr);
    rc = rc < 0 ? rc : br_epoch_open(name, bytes->data, bytes->len, master, &key, &made_unix_ns, reterr);
    br_key_wipe(&key);
    if (rc == -BR_E_CORRUPT || rc == -BR_E_NOT_FOUND) {
        (void)!store->ops->remove(store->ctx, "config", NULL);
        rc = br_err_set(reterr, BR_E_BUSY, "another init is making a repository in the same place");
    }
    return rc;
}

int br_repo_init(const struct br_store *store, const struct br_repo_init *init, struct br_uuid *ret_repository,
                 struct br_err *reterr)
{
    struct br_repo_config config = {
        .repository = br_ring_new_uuid(store->ring),
        .encrypted = init->encrypted,
        .made_unix_ns = br_ring_unix_ns(store->ring),
    };
    BR_AUTO_WIPE struct br_key master;
    struct br_buf bytes = {0};
    struct br_uuid first;
    uint8_t salt[BR_SALT_BYTES];
    char found[BR_OBJECT_NAME_BYTES];
    uint64_t size;
    int rc = store->ops->size(store->ctx, "config", &size, NULL);

    if (!rc) {
        return br_err_set(reterr, BR_E_EXISTS, "a repository");
    }
    // Only what is missing may be made anew; a config that can't be read is there.
    if (rc != -BR_E_NOT_FOUND) {
        return store->ops->size(store->ctx, "config", &size, reterr);
    }
    // Packs without a config: one whose config was lost must not get another's. What an init that was cut left is no hindrance.
    rc = store->ops->list(store->ctx, "packs/", any_name, found, reterr);
    if (rc) {
        return rc < 0 ? rc : br_err_set(reterr, BR_E_EXISTS, "packs of a repository (%s), though no config", found);
    }
    rc = remove_leftovers(store, reterr);
    if (rc < 0) {
        return rc;
    }
    br_ring_random(store->ring, config.id_secret.bytes, sizeof(config.id_secret.bytes));
    br_ring_random(store->ring, master.bytes, sizeof(master.bytes));
    if (!init->encrypted) {
        br_master_key_published(&master);
    } else {
        rc = put_key(store, &init->key, &config.repository, &master, &first, reterr);
    }
    if (!rc) {
        rc = put_epoch(store, 1, &config.repository, &master, &bytes, reterr);
    }
    draw_salt(store->ring, salt);
    br_buf_reset(&bytes);
    rc = rc < 0 ? rc : br_repo_config_seal(&config, salt, &master, &bytes, reterr);
    rc = rc < 0 ? rc : put_object(store, "config", &bytes, reterr);
    rc = rc < 0 ? rc : init_check(store, &master, &bytes, reterr);
    if (!rc) {
        *ret_repository = config.repository;
    }
    br_wipe(&config, sizeof(config));
    br_buf_free(&bytes);
    return rc;
}

int br_repo_look(const struct br_store *store, struct br_repo_config *ret_config, struct br_err *reterr)
{
    struct br_buf bytes = {0};
    int rc = get_object(store, "config", &bytes, reterr);

    if (rc == -BR_E_NOT_FOUND) {
        rc = br_err_set(reterr, BR_E_NOT_FOUND, "there is no repository");
    }
    rc = rc < 0 ? rc : br_repo_config_look(bytes.data, bytes.len, ret_config, reterr);
    br_buf_free(&bytes);
    return rc;
}

// Opening -----------------------------------------------------------------------------------------------------------------------------

struct unlocking {
    const struct br_store *store;
    const struct br_repo_secret *secret;
    const struct br_uuid *repository;
    struct br_buf bytes;
    struct br_key master;
    unsigned tried; // keys of a way that the secret is for
    struct br_uuid opened_by;
    bool damaged; // a key, the first such is
    struct br_uuid damaged_id;
    struct br_err err;
};

static int try_key(struct unlocking *unlocking, const char *name, const struct br_repo_key *key)
{
    BR_AUTO_WIPE struct br_key opener = {0};
    int rc = opener_of(unlocking->secret, key->way, &key->scrypt, &opener, &unlocking->err);

    return rc < 0 ? rc
                  : br_repo_key_open(name, unlocking->bytes.data, unlocking->bytes.len, &opener, &unlocking->master,
                                     &unlocking->err);
}

static bool secret_is_for(const struct br_repo_secret *secret, enum br_key_way way)
{
    switch (way) {
    case BR_KEY_FILE: return secret->key_file;
    case BR_KEY_RECOVERY: return secret->recovery;
    default: return secret->passphrase;
    }
}

// A key that is damaged, or of a newer kind, must not keep another one from opening.
static int unlock_with(void *ctx, const char *name)
{
    struct unlocking *unlocking = ctx;
    struct br_repo_key key;
    struct br_uuid id;

    if (!br_name_parse_key(name, &id)) {
        return 0;
    }
    int got = get_object(unlocking->store, name, &unlocking->bytes, &unlocking->err);
    if (br_store_is_lost(got)) {
        return got;
    }
    int looked =
        got < 0 ? got : br_repo_key_look(name, unlocking->bytes.data, unlocking->bytes.len, &key, &unlocking->err);
    if (looked < 0 && looked != -BR_E_VERSION && looked != -BR_E_NOT_FOUND && !unlocking->damaged) {
        unlocking->damaged = true;
        unlocking->damaged_id = id;
    }
    if (looked < 0 || !br_uuid_equal(&key.repository, unlocking->repository)) {
        return 0;
    }
    if (!secret_is_for(unlocking->secret, key.way)) {
        return 0;
    }
    unlocking->tried++;
    int rc = try_key(unlocking, name, &key);
    unlocking->opened_by = id;
    return !rc ? 1 : rc == -BR_E_NOMEM ? rc : 0;
}

static int unlock(struct br_repo *repo, const struct br_repo_config *look, const struct br_repo_secret *secret,
                  struct br_err *reterr)
{
    struct unlocking unlocking = {.store = &repo->store, .secret = secret, .repository = &look->repository};

    // Who has a key means that it is needed: a store that exchanged the config would else have everything written in the open.
    if (!look->encrypted && (secret->passphrase || secret->key_file || secret->recovery)) {
        return br_err_set(reterr, BR_E_KEY,
                          "a passphrase or key file was given, and the repository says that it is not encrypted");
    }
    if (!look->encrypted) {
        br_master_key_published(&repo->master);
        return 0;
    }
    if (!secret->passphrase && !secret->key_file && !secret->recovery) {
        return br_err_set(reterr, BR_E_KEY, "the repository is encrypted, and no passphrase was given");
    }
    int rc = repo->store.ops->list(repo->store.ctx, "keys/", unlock_with, &unlocking, reterr);
    if (rc == 1) {
        repo->master = unlocking.master;
        repo->opened_by = unlocking.opened_by;
        rc = 0;
    } else if (!rc) {
        char damaged[BR_UUID_TEXT_BYTES] = "";

        if (unlocking.damaged) {
            br_uuid_text(&unlocking.damaged_id, damaged);
        }
        rc = br_err_set(reterr, BR_E_KEY, "%s%s%.8s%s",
                        unlocking.tried        ? "the passphrase or key file is not one of its keys"
                        : secret->key_file     ? "it has no key that a key file opens"
                        : unlocking.bytes.data ? "it has no key that a passphrase opens"
                                               : "its keys are gone",
                        *damaged ? "; and key " : "", damaged, *damaged ? " is damaged" : "");
    } else if ((rc == -BR_E_NOMEM || br_store_is_lost(rc)) && unlocking.err.code == -rc && reterr) {
        *reterr = unlocking.err;
    }
    br_key_wipe(&unlocking.master);
    br_buf_free(&unlocking.bytes);
    return rc;
}

// Names come ascending, so that one that is missing shows.
static int add_info(struct br_repo *repo, uint32_t number, uint64_t made_unix_ns, struct br_err *reterr)
{
    void *more = realloc(repo->infos, (repo->info_count + 1) * sizeof(*repo->infos));

    if (!more) {
        return br_err_set(reterr, BR_E_NOMEM, "the epochs");
    }
    repo->infos = more;
    repo->infos[repo->info_count++] = (struct br_repo_epoch_info){.number = number, .made_unix_ns = made_unix_ns};
    repo->epochs_bad = repo->epochs_bad || number != repo->info_count;
    return 0;
}

struct epoch_list {
    struct br_repo *repo;
    struct br_err *reterr;
};

// The note that an epoch was shredded comes behind its key, if that is still there.
static int take_shredded(const struct epoch_list *list, const char *name, uint32_t number)
{
    struct br_repo *repo = list->repo;
    struct br_buf bytes = {0};
    uint64_t when_unix_ns = 0;
    int rc = get_object(&repo->store, name, &bytes, list->reterr);

    rc = rc < 0 ? rc : br_shredded_open(name, bytes.data, bytes.len, &repo->master, &when_unix_ns, list->reterr);
    br_buf_free(&bytes);
    if (rc < 0) {
        repo->epochs_bad = true;
        return rc == -BR_E_NOMEM ? rc : 0;
    }
    if (!repo->info_count || repo->infos[repo->info_count - 1].number != number) {
        rc = add_info(repo, number, 0, list->reterr);
    }
    if (!rc) {
        repo->infos[repo->info_count - 1].shredded = true;
        repo->infos[repo->info_count - 1].shredded_unix_ns = when_unix_ns;
    }
    if (repo->epoch_count && repo->epochs[repo->epoch_count - 1].number == number) {
        br_key_wipe(&repo->epochs[--repo->epoch_count].key);
    }
    return rc;
}

static int take_epoch(void *ctx, const char *name)
{
    const struct epoch_list *list = ctx;
    struct br_repo *repo = list->repo;
    struct br_buf bytes = {0};
    uint64_t made_unix_ns = 0;
    struct epoch epoch;

    if (br_name_parse_shredded(name, &epoch.number)) {
        return take_shredded(list, name, epoch.number);
    }
    if (!br_name_parse_epoch(name, &epoch.number)) {
        return 0;
    }
    int rc = get_object(&repo->store, name, &bytes, list->reterr);
    if (!rc) {
        rc = br_epoch_open(name, bytes.data, bytes.len, &repo->master, &epoch.key, &made_unix_ns, list->reterr);
    }
    br_buf_free(&bytes);
    if (br_store_is_lost(rc)) {
        return rc;
    }
    if (rc < 0) {
        // What was written in another epoch is there all the same.
        repo->epochs_bad = true;
        return rc == -BR_E_NOMEM ? rc : 0;
    }
    rc = add_info(repo, epoch.number, made_unix_ns, list->reterr);
    void *more = rc < 0 ? NULL : realloc(repo->epochs, (repo->epoch_count + 1) * sizeof(*repo->epochs));
    if (!more) {
        br_key_wipe(&epoch.key);
        return rc < 0 ? rc : br_err_set(list->reterr, BR_E_NOMEM, "the epochs");
    }
    repo->epochs = more;
    repo->epochs[repo->epoch_count++] = epoch;
    br_key_wipe(&epoch.key);
    return 0;
}

static int open_repo(struct br_repo *repo, const struct br_repo_params *params, int *index_fd, struct br_err *reterr)
{
    const struct epoch_list list = {.repo = repo, .reterr = reterr};
    struct br_repo_config look;
    struct br_buf bytes = {0};
    union {
        const void *in;
        void *out;
    } pun = {.in = &list};
    int rc = br_repo_look(&repo->store, &look, reterr);

    rc = rc < 0 ? rc : unlock(repo, &look, &params->secret, reterr);
    rc = rc < 0 ? rc : get_object(&repo->store, "config", &bytes, reterr);
    rc = rc < 0 ? rc : br_repo_config_open(bytes.data, bytes.len, &repo->master, &repo->config, reterr);
    rc = rc < 0 ? rc : repo->store.ops->list(repo->store.ctx, "epochs/", take_epoch, pun.out, reterr);
    br_buf_free(&bytes);
    if (!rc && !repo->epoch_count) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "the repository's epochs are gone, or damaged");
    }
    if (!rc) {
        rc = br_index_open(*index_fd, &repo->config.repository, &repo->index, reterr);
        *index_fd = -1;
    }
    return rc;
}

int br_repo_open(const struct br_repo_params *params, struct br_repo **ret_repo, struct br_err *reterr)
{
    struct br_repo *repo = calloc(1, sizeof(*repo));
    int index_fd = params->index_fd;
    int rc = repo ? 0 : br_err_set(reterr, BR_E_NOMEM, "a repository");

    if (!rc) {
        repo->store = params->store;
        rc = open_repo(repo, params, &index_fd, reterr);
    }
    if (index_fd >= 0) {
        close(index_fd);
    }
    if (rc < 0) {
        br_repo_close(repo);
        return rc;
    }
    *ret_repo = repo;
    return 0;
}

void br_repo_close(struct br_repo *repo)
{
    if (!repo) {
        return;
    }
    br_index_close(repo->index);
    if (repo->epochs) {
        br_wipe(repo->epochs, repo->epoch_count * sizeof(*repo->epochs));
        free(repo->epochs);
    }
    free(repo->infos);
    br_wipe(repo, sizeof(*repo));
    free(repo);
}

const struct br_repo_config *br_repo_config_of(const struct br_repo *repo)
{
    return &repo->config;
}

const struct br_store *br_repo_store_of(const struct br_repo *repo)
{
    return &repo->store;
}

struct br_index *br_repo_index_of(const struct br_repo *repo)
{
    return repo->index;
}

struct br_ring *br_repo_ring_of(const struct br_repo *repo)
{
    return repo->store.ring;
}

uint32_t br_repo_epoch(const struct br_repo *repo)
{
    return repo->epochs[repo->epoch_count - 1].number;
}

int br_repo_writable(const struct br_repo *repo, struct br_err *reterr)
{
    return repo->epochs_bad
               ? br_err_set(reterr, BR_E_CORRUPT,
                            "one of the repository's epochs is missing, or does not open: nothing new is written")
               : 0;
}

static struct br_repo_epoch_info *info_of(const struct br_repo *repo, uint32_t epoch)
{
    for (size_t i = 0; i < repo->info_count; i++) {
        if (repo->infos[i].number == epoch) {
            return &repo->infos[i];
        }
    }
    return NULL;
}

static bool is_shredded(const struct br_repo *repo, uint32_t epoch)
{
    const struct br_repo_epoch_info *info = info_of(repo, epoch);

    return info && info->shredded;
}

int br_repo_epoch_key(const struct br_repo *repo, uint32_t epoch, const struct br_key **ret_key, struct br_err *reterr)
{
    for (size_t i = 0; i < repo->epoch_count; i++) {
        if (repo->epochs[i].number == epoch) {
            *ret_key = &repo->epochs[i].key;
            return 0;
        }
    }
    const struct br_repo_epoch_info *info = info_of(repo, epoch);
    char when[40];
    if (info && info->shredded) {
        br_time_text(info->shredded_unix_ns, when, sizeof(when));
        return br_err_set(reterr, BR_E_KEY, "the key of epoch %" PRIu32 " was shredded on %s", epoch, when);
    }
    return br_err_set(reterr, BR_E_KEY, "the key of epoch %" PRIu32 " is gone", epoch);
}

const struct br_repo_epoch_info *br_repo_epochs(const struct br_repo *repo, size_t *ret_count)
{
    *ret_count = repo->info_count;
    return repo->infos;
}

// Keys --------------------------------------------------------------------------------------------------------------------------------

struct br_uuid br_repo_opened_by(const struct br_repo *repo)
{
    return repo->opened_by;
}

struct key_list {
    struct br_repo *repo;
    br_repo_key_fn *fn;
    void *ctx;
};

static int list_key(void *ctx, const char *name)
{
    const struct key_list *list = ctx;
    struct br_repo_key key = {0};
    struct br_buf bytes = {0};
    struct br_err err = {0};

    if (!br_name_parse_key(name, &key.id)) {
        return 0;
    }
    struct br_uuid id = key.id;
    int rc = get_object(&list->repo->store, name, &bytes, &err);
    rc = rc < 0 ? rc : br_repo_key_look(name, bytes.data, bytes.len, &key, &err);
    br_buf_free(&bytes);
    key.id = id;
    return list->fn(list->ctx, &key, rc, &err);
}

int br_repo_keys(struct br_repo *repo, br_repo_key_fn *fn, void *ctx, struct br_err *reterr)
{
    struct key_list list = {.repo = repo, .fn = fn, .ctx = ctx};

    return repo->store.ops->list(repo->store.ctx, "keys/", list_key, &list, reterr);
}

static int need_encryption(const struct br_repo *repo, struct br_err *reterr)
{
    return repo->config.encrypted ? 0 : br_err_set(reterr, BR_E_UNSUPPORTED, "the repository is not encrypted");
}

int br_repo_add_key(struct br_repo *repo, const struct br_repo_new_key *key, struct br_uuid *ret_id,
                    struct br_err *reterr)
{
    int rc = need_encryption(repo, reterr);

    return rc < 0 ? rc : put_key(&repo->store, key, &repo->config.repository, &repo->master, ret_id, reterr);
}

int br_repo_remove_key(struct br_repo *repo, const struct br_uuid *id, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES], sum[BR_OBJECT_NAME_BYTES];
    uint64_t bytes;
    int rc = need_encryption(repo, reterr);

    if (!rc && br_uuid_equal(id, &repo->opened_by)) {
        rc = br_err_set(reterr, BR_E_REFUSED,
                        "this key opened the repository just now: open it with another one to remove it");
    }
    br_name_key(id, name);
    br_name_key_sum(id, sum);
    rc = rc < 0 ? rc : repo->store.ops->size(repo->store.ctx, name, &bytes, reterr);
    rc = rc < 0 ? rc : repo->store.ops->remove(repo->store.ctx, sum, reterr);
    rc = rc < 0 ? rc : repo->store.ops->settle(repo->store.ctx, reterr); // a sum without a key is a key that was lost
    rc = rc < 0 ? rc : repo->store.ops->remove(repo->store.ctx, name, reterr);
    return rc < 0 ? rc : repo->store.ops->settle(repo->store.ctx, reterr);
}

int br_repo_rotate(struct br_repo *repo, uint32_t *ret_epoch, struct br_err *reterr)
{
    uint32_t epoch = br_repo_epoch(repo) + 1;
    struct br_buf bytes = {0};
    int rc = need_encryption(repo, reterr);

    rc = rc < 0 ? rc : br_repo_writable(repo, reterr);
    if (!rc && epoch > BR_EPOCH_MAX) {
        rc = br_err_set(reterr, BR_E_LIMIT, "no more than %u epochs", BR_EPOCH_MAX);
    }
    rc = rc < 0 ? rc : put_epoch(&repo->store, epoch, &repo->config.repository, &repo->master, &bytes, reterr);
    br_buf_free(&bytes);
    *ret_epoch = epoch;
    return rc;
}

static int put_shredded(struct br_repo *repo, uint32_t epoch, uint64_t when_unix_ns, struct br_err *reterr)
{
    uint8_t salt[BR_SALT_BYTES];
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf bytes = {0};

    draw_salt(repo->store.ring, salt);
    br_name_shredded(epoch, name);
    int rc = br_shredded_seal(epoch, &repo->config.repository, salt, &repo->master, when_unix_ns, &bytes, reterr);
    rc = rc < 0 ? rc : put_object(&repo->store, name, &bytes, reterr);
    br_buf_free(&bytes);
    return rc;
}

int br_repo_shred(struct br_repo *repo, uint32_t epoch, struct br_err *reterr)
{
    const struct br_store *store = &repo->store;
    struct br_repo_epoch_info *info = info_of(repo, epoch);
    char name[BR_OBJECT_NAME_BYTES];
    int rc = need_encryption(repo, reterr);

    rc = rc < 0 ? rc : br_repo_writable(repo, reterr);
    if (!rc && !info) {
        rc = br_err_set(reterr, BR_E_NOT_FOUND, "epoch %" PRIu32, epoch);
    }
    if (!rc && epoch == br_repo_epoch(repo)) {
        rc = br_err_set(reterr, BR_E_REFUSED,
                        "new data is sealed in epoch %" PRIu32 ": begin another one (key rotate) first", epoch);
    }
    if (!rc && !info->shredded) {
        info->shredded_unix_ns = br_ring_unix_ns(store->ring);
        rc = put_shredded(repo, epoch, info->shredded_unix_ns, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    info->shredded = true;
    info->made_unix_ns = 0;
    for (size_t i = 0; i < repo->epoch_count; i++) {
        if (repo->epochs[i].number == epoch) {
            br_key_wipe(&repo->epochs[i].key);
            memmove(&repo->epochs[i], &repo->epochs[i + 1], (repo->epoch_count - i - 1) * sizeof(*repo->epochs));
            br_key_wipe(&repo->epochs[--repo->epoch_count].key);
        }
    }
    br_name_epoch(epoch, name);
    rc = store->ops->remove(store->ctx, name, reterr);
    return rc < 0 ? rc : store->ops->settle(store->ctx, reterr);
}

int br_repo_epoch_of(struct br_repo *repo, const char *name, uint32_t *ret_epoch, struct br_err *reterr)
{
    uint8_t head[BR_OBJECT_HEAD_BYTES + BR_OBJECT_CLEAR_MAX];
    struct br_object object;
    uint64_t bytes;
    int rc = repo->store.ops->size(repo->store.ctx, name, &bytes, reterr);
    size_t len = rc < 0 ? 0 : (size_t)BR_MIN(bytes, (uint64_t)sizeof(head));

    rc = rc < 0 ? rc : br_store_read(&repo->store, name, 0, head, len, reterr);
    rc = rc < 0 ? rc : br_object_head(head, len, &object, NULL, NULL, reterr);
    if (!rc) {
        *ret_epoch = object.epoch;
    }
    return rc;
}

int br_repo_remove_point(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *id,
                         struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];

    br_name_point(volume, id, name);
    int rc = repo->store.ops->remove(repo->store.ctx, name, reterr);
    return rc < 0 ? rc : repo->store.ops->settle(repo->store.ctx, reterr);
}

struct clearing {
    struct br_repo *repo;
    struct br_buf names; // each with its final zero
    uint64_t points, packs, bytes;
    struct br_err *reterr;
};

// Noted alone: a list is not changed while it is read.
static int note_shredded(void *ctx, const char *name)
{
    struct clearing *clearing = ctx;
    const struct br_store *store = &clearing->repo->store;
    uint8_t salt[BR_SALT_BYTES];
    struct br_uuid volume, id;
    uint32_t epoch = 0;
    unsigned number;
    uint64_t bytes = 0;
    bool point = br_name_parse_point(name, &volume, &id), pack = br_name_parse_pack(name, salt);

    // What can't be read now is left for another time.
    if ((!point && !pack && !br_name_parse_history(name, &volume, &id, &number)) ||
        br_repo_epoch_of(clearing->repo, name, &epoch, NULL) < 0 || !is_shredded(clearing->repo, epoch)) {
        return 0;
    }
    if (pack) {
        clearing->bytes += store->ops->size(store->ctx, name, &bytes, NULL) < 0 ? 0 : bytes;
    }
    clearing->points += point;
    clearing->packs += pack;
    br_buf_append(&clearing->names, name, strlen(name) + 1);
    return br_buf_failed(&clearing->names) ? br_err_set(clearing->reterr, BR_E_NOMEM, "the objects to remove") : 0;
}

int br_repo_clear_shredded(struct br_repo *repo, uint64_t *ret_points, uint64_t *ret_packs, uint64_t *ret_bytes,
                           struct br_err *reterr)
{
    const struct br_store *store = &repo->store;
    struct clearing clearing = {.repo = repo, .reterr = reterr};
    int rc = store->ops->list(store->ctx, "points/", note_shredded, &clearing, reterr);

    rc = rc < 0 ? rc : store->ops->list(store->ctx, "history/", note_shredded, &clearing, reterr);
    rc = rc < 0 ? rc : store->ops->list(store->ctx, "packs/", note_shredded, &clearing, reterr);
    for (size_t at = 0; !rc && at < clearing.names.len;) {
        const char *name = (const char *)clearing.names.data + at;

        rc = store->ops->remove(store->ctx, name, reterr);
        at += strlen(name) + 1;
    }
    rc = rc < 0 ? rc : store->ops->settle(store->ctx, reterr);
    br_buf_free(&clearing.names);
    *ret_points = clearing.points;
    *ret_packs = clearing.packs;
    *ret_bytes = clearing.bytes;
    return rc;
}

// Packs -------------------------------------------------------------------------------------------------------------------------------

// A pack's directory, read in three turns at most: its length; its head and its end, where the directory is, mostly; what of it is longer.
struct directory_read {
    char name[BR_OBJECT_NAME_BYTES];
    uint64_t bytes;
    uint8_t head[BR_PACK_FRAMES_AT];
    struct br_buf end;
    struct br_store_get gets[2];
    struct br_pack_trailer trailer;
    struct br_pack_key key;
    bool alone;                    // begins before the end that was read
    struct br_directory directory; // the caller's to free, when result is 0
    struct br_index_pack pack;
    int result;
    struct br_err err;
};

static void begin_directory(struct directory_read *read, const struct br_store_ask *size)
{
    size_t end = (size_t)BR_MIN(size->value, (uint64_t)DIRECTORY_END);

    read->bytes = size->value;
    read->result = size->result;
    read->err = size->err;
    if (!read->result && read->bytes < sizeof(read->head) + BR_PACK_TRAILER_BYTES) {
        read->result = br_err_set(&read->err, BR_E_CORRUPT, "%" PRIu64 " bytes are no pack", read->bytes);
    }
    if (!read->result && !br_buf_reserve(&read->end, end)) {
        read->result = br_err_set(&read->err, BR_E_NOMEM, "a directory");
    }
    read->gets[0] = (struct br_store_get){.buf = read->head, .len_bytes = sizeof(read->head)};
    read->gets[1] = (struct br_store_get){.buf = read->end.data, .len_bytes = end, .offset_bytes = read->bytes - end};
}

static void take_gets(struct directory_read *read)
{
    for (unsigned g = 0; !read->result && g < 2; g++) {
        read->result = read->gets[g].result;
        read->err = read->gets[g].err;
    }
}

static int look_at_head(const struct br_repo *repo, struct directory_read *read, struct br_err *reterr)
{
    uint8_t salt[BR_SALT_BYTES], made[BR_PACK_FRAMES_AT];
    struct br_object object;
    struct br_uuid writer;
    const struct br_key *epoch_key = NULL;
    int rc = br_pack_head(read->head, &object, &writer, reterr);

    if (!rc && (!br_name_parse_pack(read->name, salt) || memcmp(salt, object.salt, sizeof(salt)) != 0 ||
                !br_uuid_equal(&object.repository, &repo->config.repository))) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "is another pack, or another repository's");
    }
    rc = rc < 0 ? rc : br_repo_epoch_key(repo, object.epoch, &epoch_key, reterr);
    rc = rc < 0 ? rc : br_pack_key_make(&object, &writer, epoch_key, &read->key, made, reterr);
    if (!rc) {
        read->pack = (struct br_index_pack){.epoch = object.epoch, .writer = writer, .bytes = read->bytes};
        memcpy(read->pack.salt, object.salt, sizeof(read->pack.salt));
    }
    return rc;
}

static size_t sealed_bytes(const struct directory_read *read)
{
    return read->trailer.directory_bytes + BR_SEAL_TAG_BYTES;
}

static int look_at_ends(const struct br_repo *repo, struct directory_read *read, struct br_err *reterr)
{
    size_t end = read->gets[1].len_bytes;
    int rc = look_at_head(repo, read, reterr);

    rc = rc < 0 ? rc
                : br_pack_trailer_decode(read->end.data + end - BR_PACK_TRAILER_BYTES, read->bytes, &read->trailer,
                                         reterr);
    if (rc < 0 || read->trailer.directory_at >= read->bytes - end) {
        return rc;
    }
    read->alone = true;
    return 0;
}

static int read_alone(const struct br_repo *repo, struct directory_read *read, struct br_err *reterr)
{
    br_buf_reset(&read->end);
    return br_buf_reserve(&read->end, sealed_bytes(read))
               ? br_store_read(&repo->store, read->name, read->trailer.directory_at, read->end.data, sealed_bytes(read),
                               reterr)
               : br_err_set(reterr, BR_E_NOMEM, "a directory");
}

// What read_ends() left of it to do, for one after another: what a trailer says of a directory's length is not proven, and may be very much.
static void open_directory(const struct br_repo *repo, struct directory_read *read)
{
    if (!read->result && read->alone) {
        read->result = read_alone(repo, read, &read->err);
    }
    if (!read->result) {
        size_t from = read->alone ? 0 : (size_t)(read->trailer.directory_at - (read->bytes - read->gets[1].len_bytes));

        read->result =
            br_directory_open(&read->trailer, &read->key, read->end.data + from, &read->directory, &read->err);
    }
    if (read->result < 0) {
        br_err_prefix(&read->err, "%s", read->name);
    }
    br_key_wipe(&read->key.key);
    br_buf_free(&read->end);
}

// Of each, its result. Each is given to open_directory() behind it.
static void read_ends(const struct br_repo *repo, struct directory_read *reads, size_t count)
{
    struct br_store_ask sizes[DIRECTORIES];
    struct br_store_get *gets[2 * DIRECTORIES];
    size_t asked = 0;

    memset(sizes, 0, sizeof(sizes));
    for (size_t i = 0; i < count; i++) {
        memcpy(sizes[i].name, reads[i].name, sizeof(sizes[i].name));
    }
    br_store_ask_each(&repo->store, sizes, count);
    for (size_t i = 0; i < count; i++) {
        begin_directory(&reads[i], &sizes[i]);
        for (unsigned g = 0; !reads[i].result && g < 2; g++) {
            memcpy(reads[i].gets[g].name, reads[i].name, sizeof(reads[i].name));
            gets[asked++] = &reads[i].gets[g];
        }
    }
    br_store_read_each(&repo->store, gets, asked);
    for (size_t i = 0; i < count; i++) {
        take_gets(&reads[i]);
        reads[i].result = reads[i].result ? reads[i].result : look_at_ends(repo, &reads[i], &reads[i].err);
    }
}

int br_repo_directory(struct br_repo *repo, const char *name, struct br_directory *ret_directory,
                      struct br_index_pack *ret_pack, struct br_err *reterr)
{
    struct directory_read *read = calloc(1, sizeof(*read));

    if (!read) {
        return br_err_set(reterr, BR_E_NOMEM, "a directory");
    }
    snprintf(read->name, sizeof(read->name), "%s", name);
    read_ends(repo, read, 1);
    open_directory(repo, read);
    int rc = read->result;
    if (rc < 0 && reterr) {
        *reterr = read->err;
    } else if (!rc) {
        *ret_directory = read->directory;
    }
    if (!rc && ret_pack) {
        *ret_pack = read->pack;
    }
    free(read);
    return rc;
}

struct refreshing {
    struct br_repo *repo;
    struct br_repo_refreshed *refreshed;
    uint32_t *there; // numbers of packs that the store has
    size_t there_count;
    uint32_t *gone;
    size_t gone_count;
    struct directory_read *reads; // DIRECTORIES, of packs that are new
    size_t read_count;
    struct br_err *reterr;
};

// Room for one more number; lists grow by doubling, whenever their count is a power of two.
static int numbers_add(uint32_t **numbers, size_t *count, uint32_t number, struct br_err *reterr)
{
    if (!(*count & (*count - 1))) {
        void *more = realloc(*numbers, (*count ? 2 * *count : 1) * sizeof(**numbers));

        if (!more) {
            return br_err_set(reterr, BR_E_NOMEM, "the list of packs");
        }
        *numbers = more;
    }
    (*numbers)[(*count)++] = number;
    return 0;
}

static int take_directory(struct refreshing *refreshing, struct directory_read *read)
{
    struct br_repo *repo = refreshing->repo;
    struct br_repo_refreshed *refreshed = refreshing->refreshed;
    int rc = read->result;
    uint32_t number;

    if (rc == -BR_E_NOT_FOUND && read->err.os_errno == ENOENT) {
        refreshed->packs--;
        return 0; // pruned meanwhile
    }
    if (rc == -BR_E_KEY && !br_repo_epoch_of(repo, read->name, &number, NULL) && is_shredded(repo, number)) {
        refreshed->shredded++;
        return 0;
    }
    // One that can't be read, for whatever reason, must not hide the others.
    if (rc < 0 && rc != -BR_E_NOMEM && !br_store_is_lost(rc)) {
        if (!refreshed->damaged++) {
            snprintf(refreshed->first_damaged, sizeof(refreshed->first_damaged), "%s", read->err.text);
        }
        return 0;
    }
    if (rc < 0) {
        if (refreshing->reterr) {
            *refreshing->reterr = read->err;
        }
        return rc;
    }
    rc = br_index_add(repo->index, &read->pack, &read->directory, refreshing->reterr);
    refreshed->added++;
    rc = rc < 0 ? rc : br_index_has_pack(repo->index, read->pack.salt, &number, refreshing->reterr);
    return rc < 0 ? rc : numbers_add(&refreshing->there, &refreshing->there_count, number, refreshing->reterr);
}

// Reads what was gathered of packs that the index does not know.
static int take_new(struct refreshing *refreshing)
{
    int rc = 0;

    read_ends(refreshing->repo, refreshing->reads, refreshing->read_count);
    for (size_t i = 0; i < refreshing->read_count; i++) {
        struct directory_read *read = &refreshing->reads[i];

        open_directory(refreshing->repo, read);
        rc = rc < 0 ? rc : take_directory(refreshing, read);
        if (!read->result) {
            br_directory_free(&read->directory);
        }
        *read = (struct directory_read){.result = 0};
    }
    refreshing->read_count = 0;
    return rc;
}

static int refresh_pack(void *ctx, const char *name)
{
    struct refreshing *refreshing = ctx;
    uint8_t salt[BR_SALT_BYTES];
    uint32_t number;

    if (!br_name_parse_pack(name, salt)) {
        return 0;
    }
    refreshing->refreshed->packs++;
    int rc = br_index_has_pack(refreshing->repo->index, salt, &number, refreshing->reterr);
    if (rc) {
        return rc < 0 ? rc : numbers_add(&refreshing->there, &refreshing->there_count, number, refreshing->reterr);
    }
    snprintf(refreshing->reads[refreshing->read_count++].name, BR_OBJECT_NAME_BYTES, "%s", name);
    return refreshing->read_count < DIRECTORIES ? 0 : take_new(refreshing);
}

static int note_gone(void *ctx, const struct br_index_pack *pack)
{
    struct refreshing *refreshing = ctx;
    const struct br_key *key;

    // What was sealed in an epoch that was shredded is gone, whether it lies there or not.
    if (is_shredded(refreshing->repo, pack->epoch)) {
        return numbers_add(&refreshing->gone, &refreshing->gone_count, pack->number, refreshing->reterr);
    }
    if (br_repo_epoch_key(refreshing->repo, pack->epoch, &key, NULL) < 0) {
        refreshing->repo->epochs_bad = true;
    }
    // One that was being dropped when that was cut; if it is there all the same, it has been taken in anew under another number.
    uint32_t number = 0;
    int known = br_index_has_pack(refreshing->repo->index, pack->salt, &number, refreshing->reterr);
    if (known < 0 || number != pack->number) {
        return known < 0 ? known
                         : numbers_add(&refreshing->gone, &refreshing->gone_count, pack->number, refreshing->reterr);
    }
    if (refreshing->there_count &&
        bsearch(&pack->number, refreshing->there, refreshing->there_count, sizeof(*refreshing->there), br_u32_order)) {
        return 0;
    }
    // A writer may have put it there, and into the index, since the names were listed; and a store that fails has not lost anything yet.
    char name[BR_OBJECT_NAME_BYTES];
    struct br_err err = {0};
    uint64_t bytes;
    const struct br_store *store = &refreshing->repo->store;
    br_name_pack(pack->salt, name);
    int rc = store->ops->size(store->ctx, name, &bytes, &err);
    return rc != -BR_E_NOT_FOUND || err.os_errno != ENOENT
               ? 0
               : numbers_add(&refreshing->gone, &refreshing->gone_count, pack->number, refreshing->reterr);
}

int br_repo_refresh(struct br_repo *repo, struct br_repo_refreshed *ret_refreshed, struct br_err *reterr)
{
    struct refreshing refreshing = {.repo = repo, .refreshed = ret_refreshed, .reterr = reterr};

    *ret_refreshed = (struct br_repo_refreshed){0};
    refreshing.reads = calloc(DIRECTORIES, sizeof(*refreshing.reads));
    if (!refreshing.reads) {
        return br_err_set(reterr, BR_E_NOMEM, "the directories of packs");
    }
    int rc = repo->store.ops->list(repo->store.ctx, "packs/", refresh_pack, &refreshing, reterr);
    rc = rc < 0 ? rc : take_new(&refreshing);
    free(refreshing.reads);
    if (!rc && refreshing.there_count) {
        qsort(refreshing.there, refreshing.there_count, sizeof(*refreshing.there), br_u32_order);
    }
    rc = rc < 0 ? rc : br_index_each_pack(repo->index, note_gone, &refreshing, reterr);
    if (!rc && refreshing.gone_count) {
        rc = br_index_drop(repo->index, refreshing.gone, refreshing.gone_count, reterr);
        ret_refreshed->dropped = refreshing.gone_count;
    }
    free(refreshing.there);
    free(refreshing.gone);
    return rc;
}

bool br_repo_look_again(struct br_repo *repo)
{
    uint64_t now_ns = br_ring_now_ns(repo->store.ring);
    struct br_repo_refreshed refreshed;

    if (repo->looked_ns && now_ns - repo->looked_ns < 10 * BR_NS_PER_S) {
        return false;
    }
    repo->looked_ns = BR_MAX(now_ns, 1u);
    return !br_repo_refresh(repo, &refreshed, NULL);
}

struct proven {
    uint8_t (*salts)[BR_SALT_BYTES];
    size_t count;
    struct br_err *reterr;
};

static int take_proven(void *ctx, const struct br_index_pack *pack)
{
    struct proven *proven = ctx;

    if (!pack->proven) {
        return 0;
    }
    if (!(proven->count & (proven->count - 1))) {
        void *more = reallocarray(proven->salts, proven->count ? 2 * proven->count : 1, BR_SALT_BYTES);

        if (!more) {
            return br_err_set(proven->reterr, BR_E_NOMEM, "the list of packs");
        }
        proven->salts = more;
    }
    memcpy(proven->salts[proven->count++], pack->salt, BR_SALT_BYTES);
    return 0;
}

int br_repo_reindex(struct br_repo *repo, struct br_err *reterr)
{
    struct proven proven = {.reterr = reterr};
    struct br_repo_refreshed refreshed;
    uint32_t number;
    int rc = br_index_each_pack(repo->index, take_proven, &proven, reterr);

    rc = rc < 0 ? rc : br_index_empty(repo->index, reterr);
    rc = rc < 0 ? rc : br_repo_refresh(repo, &refreshed, reterr);
    for (size_t i = 0; !rc && i < proven.count; i++) {
        rc = br_index_has_pack(repo->index, proven.salts[i], &number, reterr);
        rc = rc > 0 ? br_index_set_proven(repo->index, number, true, reterr) : rc;
    }
    free(proven.salts);
    return rc;
}

// Points ------------------------------------------------------------------------------------------------------------------------------

// What writers, prunes and people say of points and packs is the master key's: it must be read when an epoch's key was given up.
static bool outlives_epochs(enum br_object_kind kind)
{
    return (kind >= BR_OBJECT_LEASE && kind <= BR_OBJECT_HOLD) || kind == BR_OBJECT_KEY_SUM;
}

int br_repo_object_new(struct br_repo *repo, enum br_object_kind kind, struct br_object *ret_object,
                       const struct br_key **ret_key, struct br_err *reterr)
{
    int rc = br_repo_writable(repo, reterr);

    *ret_object = (struct br_object){.kind = kind, .repository = repo->config.repository};
    draw_salt(repo->store.ring, ret_object->salt);
    if (outlives_epochs(kind)) {
        *ret_key = &repo->master;
        return rc;
    }
    ret_object->epoch = br_repo_epoch(repo);
    return rc < 0 ? rc : br_repo_epoch_key(repo, ret_object->epoch, ret_key, reterr);
}

int br_repo_object_read(struct br_repo *repo, const char *name, struct br_buf *bytes, struct br_object *ret_object,
                        const struct br_key **ret_key, struct br_err *reterr)
{
    int rc = get_object(&repo->store, name, bytes, reterr);

    rc = rc < 0 ? rc : br_object_head(bytes->data, bytes->len, ret_object, NULL, NULL, reterr);
    if (!rc && !br_uuid_equal(&ret_object->repository, &repo->config.repository)) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "%s: is another repository's", name);
    }
    if (rc < 0 || !outlives_epochs(ret_object->kind)) {
        return rc < 0 ? rc : br_repo_epoch_key(repo, ret_object->epoch, ret_key, reterr);
    }
    *ret_key = &repo->master;
    return ret_object->epoch ? br_err_set(reterr, BR_E_CORRUPT, "%s: is sealed in an epoch", name) : 0;
}

// A tombstone must prove itself before it is taken for one: who can exchange objects can't make points disappear.
static int open_tombstone(const char *name, const struct br_buf *bytes, const struct br_key *key, struct br_err *reterr)
{
    struct br_point_mark mark;
    int rc = br_point_mark_open(name, bytes->data, bytes->len, key, &mark, reterr);

    return rc < 0 ? rc : br_err_set(reterr, BR_E_NOT_FOUND, "%s: the run that would have made it was given up", name);
}

static int open_point(struct br_repo *repo, const char *name, struct br_point *ret_point, struct br_hash *ret_hash,
                      struct br_err *reterr)
{
    struct br_buf bytes = {0};
    struct br_object object;
    const struct br_key *key = NULL;
    int rc = br_repo_object_read(repo, name, &bytes, &object, &key, reterr);

    if (!rc && object.kind == BR_OBJECT_TOMBSTONE) {
        rc = open_tombstone(name, &bytes, key, reterr);
    }
    rc = rc < 0 ? rc : br_point_open(name, bytes.data, bytes.len, key, ret_point, reterr);
    if (!rc && ret_hash && EVP_Digest(bytes.data, bytes.len, ret_hash->bytes, NULL, EVP_sha256(), NULL) != 1) {
        rc = br_err_set(reterr, BR_E_INTERNAL, "SHA-256 failed");
    }
    br_buf_free(&bytes);
    return rc;
}

int br_repo_point(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *id,
                  struct br_point *ret_point, struct br_hash *ret_hash, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];

    br_name_point(volume, id, name);
    return open_point(repo, name, ret_point, ret_hash, reterr);
}

struct point_list {
    struct br_repo *repo;
    br_repo_point_fn *fn;
    void *ctx;
    struct br_err *reterr;
};

static int list_point(void *ctx, const char *name)
{
    const struct point_list *list = ctx;
    struct br_point point = {0};
    struct br_err err = {0};

    if (!br_name_parse_point(name, &point.volume, &point.id)) {
        return 0;
    }
    struct br_uuid volume = point.volume, id = point.id;
    int rc = open_point(list->repo, name, &point, NULL, &err);
    if (rc == -BR_E_NOT_FOUND) {
        return 0; // pruned meanwhile
    }
    uint32_t epoch;
    if (rc == -BR_E_KEY && !br_repo_epoch_of(list->repo, name, &epoch, NULL) && is_shredded(list->repo, epoch)) {
        return 0; // gone, though it still lies there
    }
    if (br_store_is_lost(rc)) {
        if (list->reterr) {
            *list->reterr = err;
        }
        return rc;
    }
    if (rc < 0) {
        point = (struct br_point){.volume = volume, .id = id};
    }
    return list->fn(list->ctx, &point, rc, &err);
}

int br_repo_points(struct br_repo *repo, const struct br_uuid *volume, br_repo_point_fn *fn, void *ctx,
                   struct br_err *reterr)
{
    struct point_list list = {.repo = repo, .fn = fn, .ctx = ctx, .reterr = reterr};
    static const struct br_uuid none;
    char prefix[BR_OBJECT_NAME_BYTES] = "points/";

    if (volume) {
        br_name_point(volume, &none, prefix);
        *(strrchr(prefix, '/') + 1) = 0;
    }
    return repo->store.ops->list(repo->store.ctx, prefix, list_point, &list, reterr);
}

struct newest {
    bool found;
    struct br_point point;
    struct br_err err; // why the list was given up
};

// Two of one counter: two writers of one volume. Any order will do, if it is the same for all.
static int is_newer(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct newest *newest = ctx;

    // One that is damaged must not keep the next from being made; one that can't be read now must not be passed over.
    if (rc < 0 && rc != -BR_E_CORRUPT && rc != -BR_E_VERSION && rc != -BR_E_TRUNCATED && rc != -BR_E_KEY) {
        newest->err = *err;
        return rc;
    }
    if (!rc && (!newest->found || point->counter > newest->point.counter ||
                (point->counter == newest->point.counter &&
                 memcmp(point->id.bytes, newest->point.id.bytes, BR_UUID_BYTES) > 0))) {
        newest->point = *point;
        newest->found = true;
    }
    return 0;
}

int br_repo_newest(struct br_repo *repo, const struct br_uuid *volume, struct br_point *ret_point,
                   struct br_hash *ret_hash, struct br_err *reterr)
{
    struct newest newest = {0};
    int rc = br_repo_points(repo, volume, is_newer, &newest, reterr);

    if (rc < 0 && newest.err.code && reterr) {
        *reterr = newest.err;
    }
    if (rc < 0 || !newest.found) {
        return rc;
    }
    rc = br_repo_point(repo, volume, &newest.point.id, ret_point, ret_hash, reterr);
    return rc < 0 ? rc : 1;
}

// The epoch that a writer found when it began may have been shredded since: then what it sealed is gone, and nobody may take it for a point.
static int still_there(struct br_repo *repo, uint32_t epoch, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    uint64_t bytes;

    br_name_shredded(epoch, name);
    int rc = repo->store.ops->size(repo->store.ctx, name, &bytes, NULL);
    return rc ? 0 : br_err_set(reterr, BR_E_KEY, "epoch %" PRIu32 " was shredded while this ran: run again", epoch);
}

static int seal_point(struct br_repo *repo, const struct br_point *point, uint32_t *ret_epoch,
                      char name[BR_OBJECT_NAME_BYTES], struct br_buf *bytes, struct br_err *reterr)
{
    struct br_object object;
    const struct br_key *key = NULL;
    int rc = br_repo_object_new(repo, BR_OBJECT_POINT, &object, &key, reterr);

    br_name_point(&point->volume, &point->id, name);
    *ret_epoch = object.epoch;
    return rc < 0 ? rc : br_point_seal(point, &object, key, bytes, reterr);
}

int br_repo_put_point(struct br_repo *repo, const struct br_point *point, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf bytes = {0};
    uint32_t epoch = 0;
    int rc = seal_point(repo, point, &epoch, name, &bytes, reterr);

    rc = rc < 0 ? rc : put_object(&repo->store, name, &bytes, reterr);
    br_buf_free(&bytes);
    return rc < 0 ? rc : still_there(repo, epoch, reterr);
}

#define RENEW_LETTER     'n'           // in the index: of a point that is renewed 1
#define RENEW_FREE_BYTES (1024 * 1024) // many times what a point is long

static int note_renewing(struct br_repo *repo, const struct br_uuid *id, uint64_t number, struct br_err *reterr)
{
    return br_index_note(repo->index, RENEW_LETTER, id, number, reterr);
}

int br_repo_renewing(struct br_repo *repo, const struct br_uuid *id, struct br_err *reterr)
{
    uint64_t number = 0;
    int rc = br_index_noted(repo->index, RENEW_LETTER, id, &number, reterr);

    return rc < 0 ? rc : number > 0;
}

struct cut_renewals {
    struct br_uuid *ids;
    size_t count;
    struct br_err *reterr;
};

static int take_renewal(void *ctx, const struct br_uuid *id, uint64_t number)
{
    struct cut_renewals *cut = ctx;

    if (!number) {
        return 0;
    }
    struct br_uuid *more = reallocarray(cut->ids, cut->count + 1, sizeof(*more));
    if (!more) {
        return br_err_set(cut->reterr, BR_E_NOMEM, "the points that were renewed");
    }
    cut->ids = more;
    cut->ids[cut->count++] = *id;
    return 0;
}

// One that is there again, or still, is none that is gone.
static int take_there(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct cut_renewals *cut = ctx;

    (void)rc;
    (void)err;
    for (size_t i = 0; i < cut->count; i++) {
        if (br_uuid_equal(&cut->ids[i], &point->id)) {
            cut->ids[i] = cut->ids[--cut->count];
            break;
        }
    }
    return 0;
}

int br_repo_cut_renewals(struct br_repo *repo, struct br_uuid **ret_ids, size_t *ret_count, struct br_err *reterr)
{
    struct cut_renewals cut = {.reterr = reterr};
    int rc = br_index_each_noted(repo->index, RENEW_LETTER, take_renewal, &cut, reterr);

    rc = rc < 0 || !cut.count ? rc : br_repo_points(repo, NULL, take_there, &cut, reterr);
    if (rc < 0) {
        free(cut.ids);
        cut = (struct cut_renewals){.ids = NULL};
    }
    *ret_ids = cut.ids;
    *ret_count = cut.count;
    return BR_MIN(rc, 0);
}

int br_repo_forget_renewal(struct br_repo *repo, const struct br_uuid *id, struct br_err *reterr)
{
    return note_renewing(repo, id, 0, reterr);
}

// Where there is no room for a point, its damaged one is not removed.
static int has_room(struct br_repo *repo, struct br_err *reterr)
{
    uint64_t free_bytes = 0;
    int rc = repo->store.ops->space(repo->store.ctx, &free_bytes, reterr);

    return rc < 0                           ? rc
           : free_bytes >= RENEW_FREE_BYTES ? 0
                                            : br_err_set(reterr, BR_E_NO_SPACE, "for a point that is made anew");
}

int br_repo_renew_point(struct br_repo *repo, const struct br_point *point, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf bytes = {0};
    uint32_t epoch = 0;
    int rc = seal_point(repo, point, &epoch, name, &bytes, reterr);

    rc = rc < 0 ? rc : has_room(repo, reterr);
    rc = rc < 0 ? rc : note_renewing(repo, &point->id, 1, reterr);
    rc = rc < 0 ? rc : br_repo_remove_point(repo, &point->volume, &point->id, reterr);
    if (rc == -BR_E_AUTH || rc == -BR_E_PERMISSION || rc == -BR_E_REFUSED) {
        (void)!note_renewing(repo, &point->id, 0, NULL); // the damaged one is still there
    }
    rc = rc < 0 ? rc : put_object(&repo->store, name, &bytes, reterr);
    rc = rc < 0 ? rc : note_renewing(repo, &point->id, 0, reterr);
    br_buf_free(&bytes);
    return rc < 0 ? rc : still_there(repo, epoch, reterr);
}
