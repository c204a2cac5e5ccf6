// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/audit.h"
#include "tools/recovery.h"
#include "tools/repository.h"

static const struct cli_option init_options[] = {
    REPOSITORY_OPTIONS,
    {"encryption", CLI_CHOICE, "on|none",
     "none: everybody who can read the directory can read the backups. It must be asked for; what is in a repository is never changed to the other."},
    {"recovery", CLI_FLAG, NULL,
     "Draw a recovery key too, to be printed and kept away from the machines: it opens the repository when all else is lost. As blkrep key add --recovery "
     "does at any later time."},
    {"sheet", CLI_PATH, "FILE",
     "With --recovery: write the page with the key and what to do with it to this new file, not to standard output."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example init_examples[] = {
    {"blkrep init /backup/repo --passphrase-file /etc/blkrep/passphrase",
     "Whoever has lost the passphrase has lost the backups."},
    {"blkrep init /backup/other --key-file /etc/blkrep/repo.key",
     "With a key file, which is made when it is not there. Keep a copy elsewhere."},
    {"blkrep init /backup/third --key-file /etc/blkrep/repo.key --recovery --sheet page.txt",
     "With a page to be printed, for the day when the key file is lost."},
    {NULL, NULL},
};

static const struct cli_field init_fields[] = {
    {"repository", "text|null", "Its uuid; null when none was made."},
    {"path", "text", "Its directory or address."},
    {"encrypted", "boolean", "It needs a passphrase or a key file."},
    {"recovery", "text|null", "With --recovery: the id of that key; null when none was made."},
    {"recovery_key", "text", "With --recovery, and without --sheet: the key, a secret."},
    {NULL, NULL, NULL},
};

// The passphrase that made it opens it once more, and is not asked for again; a key file is read again.
static int init_hand_on(struct cli *cli, const struct repository_secret *secret, int *ret_fd, struct br_err *reterr)
{
    static char path[40]; // that the option points to

    if (!secret->passphrase || strchr(secret->passphrase, '\n')) {
        return 0;
    }
    *ret_fd = memfd_create("passphrase", MFD_CLOEXEC);
    if (*ret_fd < 0 || fchmod(*ret_fd, 0600) ||
        write(*ret_fd, secret->passphrase, strlen(secret->passphrase)) != (ssize_t)strlen(secret->passphrase)) {
        return br_err_os(reterr, errno ? errno : EIO, "memory for the passphrase");
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", *ret_fd);
    cli_set(cli, "passphrase-file", path);
    return 0;
}

static int init_recovery(struct cli *cli, struct br_ring *ring, const struct br_repo_new_key *how,
                         struct br_err *reterr)
{
    struct repository repository = {0};
    char id[BR_UUID_TEXT_BYTES];
    struct br_uuid key;
    int error = repository_open(cli, ring, cli->args[0], false, &repository, reterr);

    error = error ? error : recovery_add(cli, &repository, how, &key, reterr);
    if (!error) {
        json_t *details = json_object();

        br_uuid_text(&key, id);
        cli_report_text(cli, "recovery", id);
        json_object_set_new(details, "what", json_string(id));
        error = audit_append(cli, "key-add", repository.path, details, reterr);
    }
    repository_close(&repository);
    return error ? br_err_prefix(reterr, "the repository is there, without a recovery key") : 0;
}

static int init_make(struct cli *cli, const char *path, bool encrypted, struct br_uuid *ret_uuid, bool *ret_made,
                     struct br_err *reterr)
{
    bool recovery = cli_flag(cli, "recovery");
    int secret_fd = -1;
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
    *ret_made = !error;
    error = error || !recovery ? error : init_hand_on(cli, &secret, &secret_fd, reterr);
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
    error = error || !recovery ? error : init_recovery(cli, ring, &init.key, reterr);
    if (secret_fd >= 0) {
        close(secret_fd);
    }
    br_ring_close(ring);
    return error;
}

// Before anything is made.
static int init_usage(const struct cli *cli, bool encrypted, struct br_err *reterr)
{
    const char *sheet = cli_text(cli, "sheet");

    if (!encrypted && (cli_text(cli, "key-file") || cli_text(cli, "passphrase-file") || cli_flag(cli, "recovery"))) {
        return br_err_set(reterr, BR_E_USAGE,
                          "--encryption none goes with neither a passphrase nor a key file, nor --recovery");
    }
    if (sheet && !cli_flag(cli, "recovery")) {
        return br_err_set(reterr, BR_E_USAGE, "--sheet goes with --recovery");
    }
    return sheet && !access(sheet, F_OK) ? br_err_set(reterr, BR_E_EXISTS, "%s", sheet) : 0;
}

static int init_run(struct cli *cli, struct br_err *reterr)
{
    const char *encryption = cli_text(cli, "encryption");
    bool encrypted = !encryption || strcmp(encryption, "none") != 0;
    char path[PATH_MAX], uuid[BR_UUID_TEXT_BYTES] = "";
    struct br_uuid repository;
    bool made = false;
    int error = audit_ready(cli, reterr);

    error = error ? error : init_usage(cli, encrypted, reterr);
    error = error ? error : repository_path(cli, cli->args[0], path, reterr);
    cli_report_text(cli, "path", error ? cli->args[0] : path);
    cli_report_bool(cli, "encrypted", encrypted);
    cli_report_text(cli, "recovery", NULL);
    error = error ? error : init_make(cli, path, encrypted, &repository, &made, reterr);
    if (made) {
        json_t *details = json_object();
        struct br_err err = {0};

        br_uuid_text(&repository, uuid);
        json_object_set_new(details, "repository", json_string(uuid));
        json_object_set_new(details, "encrypted", json_boolean(encrypted));
        int noted = audit_append(cli, "init", path, details, error ? &err : reterr);
        error = error ? error : noted;
    }
    cli_report_text(cli, "repository", *uuid ? uuid : NULL);
    if (!error) {
        cli_print(cli, "%s: repository %s, %s", path, uuid,
                  encrypted ? "encrypted: without its passphrase or key file nobody reads it, you neither"
                            : "not encrypted");
        if (encrypted && !cli_flag(cli, "recovery")) {
            cli_print(cli, "for the day when that is lost, a recovery key to be printed: blkrep key add %s --recovery",
                      cli->args[0]);
        } else if (cli_text(cli, "sheet")) {
            cli_print(cli, "%s: the sheet with the recovery key: print it, then remove the file",
                      cli_text(cli, "sheet"));
        }
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
