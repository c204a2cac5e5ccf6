// SPDX-License-Identifier: Apache-2.0
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/audit.h"
#include "tools/repository.h"

static const struct cli_option init_options[] = {
    REPOSITORY_OPTIONS,
    {"encryption", CLI_CHOICE, "on|none",
     "none: everybody who can read the directory can read the backups. It must be asked for; what is in a repository is never changed to the other."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example init_examples[] = {
    {"blkrep init /backup/repo --passphrase-file /etc/blkrep/passphrase",
     "Whoever has lost the passphrase has lost the backups."},
    {"blkrep init /backup/other --key-file /etc/blkrep/repo.key",
     "With a key file, which is made when it is not there. Keep a copy elsewhere."},
    {NULL, NULL},
};

static const struct cli_field init_fields[] = {
    {"repository", "text|null", "Its uuid; null when none was made."},
    {"path", "text", "Its directory or address."},
    {"encrypted", "boolean", "It needs a passphrase or a key file."},
    {NULL, NULL, NULL},
};

static int init_make(struct cli *cli, const char *path, bool encrypted, struct br_uuid *ret_uuid, struct br_err *reterr)
{
    struct repository_secret secret = {0};
    struct br_ring *ring = NULL;
    struct br_store store = {0};
    char host[256] = "";
    struct br_repo_init init = {
        .encrypted = encrypted,
        .key = {.scrypt = {.log2_n = BR_SCRYPT_LOG2_N, .block = BR_SCRYPT_BLOCK, .lanes = BR_SCRYPT_LANES},
                .label = host},
    };
    int error = place_ring(cli, &ring, reterr);

    gethostname(host, sizeof(host) - 1);
    error = error ? error : repository_store_at(cli, ring, path, true, false, &store, reterr);
    // Looked at first: nobody should think up a passphrase in vain.
    struct br_repo_config there;
    if (!error && !br_repo_look(&store, &there, NULL)) {
        error = br_err_set(reterr, BR_E_EXISTS, "a repository in %s", path);
    }
    error = error || !encrypted
                ? error
                : repository_secret(cli, strchr(cli->args[0], '/') ? NULL : cli->args[0], true, &secret, reterr);
    init.key.secret = secret.secret;
    error = error ? error : br_repo_init(&store, &init, ret_uuid, reterr);
    repository_secret_free(&secret);
    if (store.ops) {
        char lock[PATH_MAX + sizeof(REPOSITORY_INIT_LOCK) + 1];

        snprintf(lock, sizeof(lock), "%s/" REPOSITORY_INIT_LOCK, path);
        unlink(lock);
        store.ops->close(store.ctx);
    }
    if (!error && !encrypted) {
        repository_forget_encrypted(cli, path);
    }
    br_ring_close(ring);
    return error;
}

static int init_run(struct cli *cli, struct br_err *reterr)
{
    const char *encryption = cli_text(cli, "encryption");
    bool encrypted = !encryption || strcmp(encryption, "none") != 0;
    char path[PATH_MAX], uuid[BR_UUID_TEXT_BYTES] = "";
    struct br_uuid repository;
    int error = audit_ready(cli, reterr);

    if (!error && !encrypted && (cli_text(cli, "key-file") || cli_text(cli, "passphrase-file"))) {
        error = br_err_set(reterr, BR_E_USAGE, "--encryption none goes with neither a passphrase nor a key file");
    }
    error = error ? error : repository_path(cli, cli->args[0], path, reterr);
    cli_report_text(cli, "path", error ? cli->args[0] : path);
    cli_report_bool(cli, "encrypted", encrypted);
    error = error ? error : init_make(cli, path, encrypted, &repository, reterr);
    if (!error) {
        json_t *details = json_object();

        br_uuid_text(&repository, uuid);
        json_object_set_new(details, "repository", json_string(uuid));
        json_object_set_new(details, "encrypted", json_boolean(encrypted));
        error = audit_append(cli, "init", path, details, reterr);
    }
    cli_report_text(cli, "repository", *uuid ? uuid : NULL);
    if (!error) {
        cli_print(cli, "%s: repository %s, %s", path, uuid,
                  encrypted ? "encrypted: without its passphrase or key file nobody reads it, you neither"
                            : "not encrypted");
    }
    return error;
}

const struct cli_verb cmd_init = {
    .name = "init",
    .args = "REPO",
    .args_min = 1,
    .args_max = 1,
    .summary = "Make a repository of recovery points.",
    .description =
        "REPO is a directory, made when it is missing, blkrep://HOST[:PORT]/NAME where blkrep serve offers NAME to this host as an admin, or a name from the configuration. It is encrypted unless --encryption none asks for "
        "the opposite: what is stored there tells a stranger how much there is and when it came, and nothing else, and nobody without the key can "
        "change it unnoticed. The passphrase is stretched by scrypt (128 MiB for each guess).",
    .options = init_options,
    .examples = init_examples,
    .see_also = "blkrep-backup(1), blkrep-points(1), blkrep-restore(1), blkrep-repository(5)",
    .schema = "blkrep.init/1",
    .fields = init_fields,
    .run = init_run,
};
