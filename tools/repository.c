// SPDX-License-Identifier: Apache-2.0
#include "tools/repository.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "engine/net/base32.h"
#include "engine/repo/heads.h"
#include "engine/repo/store_dir.h"
#include "engine/sync/source.h"
#include "tools/audit.h"
#include "tools/conf.h"
#include "tools/remote.h"

#define PASSPHRASE_BYTES 1024u
#define KEY_FILE_DIGITS  (2u * BR_KEY_BYTES)

// Words -------------------------------------------------------------------------------------------------------------------------------

int repository_word(const char *word, char repo[PATH_MAX], char point[256], struct br_err *reterr)
{
    const char *at = strrchr(word, '@');
    size_t len = at ? (size_t)(at - word) : strlen(word);

    // An @ in a folder's name, and none behind the last slash: no point.
    if (at && strchr(at, '/')) {
        at = NULL;
        len = strlen(word);
    }
    if (!len || len >= PATH_MAX || (at && (!at[1] || strlen(at + 1) >= 256))) {
        return br_err_set(reterr, BR_E_USAGE, "'%s' is not of the form REPO[@POINT]", word);
    }
    snprintf(repo, PATH_MAX, "%.*s", (int)len, word);
    snprintf(point, 256, "%s", at ? at + 1 : "");
    return 0;
}

static bool is_address(const char *path)
{
    return !strncmp(path, "blkrep://", 9);
}

int repository_path(struct cli *cli, const char *word, char path[PATH_MAX], struct br_err *reterr)
{
    const struct conf *conf;
    int error = conf_of(cli, &conf, reterr);

    if (error) {
        return error;
    }
    bool named = !strchr(word, '/') && conf_has(conf, "repository", word);
    const char *given = named ? conf_get(conf, "repository", word, "path") : word;
    if (!given) {
        return br_err_set(reterr, BR_E_CONFIG, "[repository %s] has no path", word);
    }
    if (is_address(given)) {
        struct place_address address;

        error = place_resolve(cli, given, "repository", &address, reterr);
        snprintf(path, PATH_MAX, "%s", address.text);
        return error;
    }
    if (strlen(given) >= PATH_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "a path that is too long");
    }
    snprintf(path, PATH_MAX, "%s", given);
    return 0;
}

// Does the server keep a repository of this name? Else it may be a replica. One that does not let us in has it all the same.
static bool is_served(struct cli *cli, const char *path)
{
    struct place_address address;
    struct br_ring *ring;
    struct br_store store;
    struct br_err err = {0};

    if (place_resolve(cli, path, "repository", &address, &err) || place_ring(cli, &ring, &err)) {
        return false;
    }
    int error = remote_open_store(cli, ring, &address, false, &store, &err);
    if (!error) {
        store.ops->close(store.ctx);
    }
    br_ring_close(ring);
    return !error || error == -BR_E_AUTH;
}

bool repository_is(struct cli *cli, const char *word)
{
    char path[PATH_MAX], config[PATH_MAX + 8];
    struct br_err none;

    if (repository_path(cli, word, path, &none)) {
        return false;
    }
    if (is_address(path)) {
        return !strchr(word, '/') || is_served(cli, path);
    }
    snprintf(config, sizeof(config), "%s/config", path);
    return !access(config, F_OK);
}

// A new name is durable.
static int sync_folder_of(const char *path, struct br_err *reterr)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];

    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)BR_MAX(slash - path, (ptrdiff_t)1) : 1, slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || (fsync(fd) && errno != EINVAL) ? br_err_os(reterr, errno, "making %s durable", path) : 0;
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

// The store ---------------------------------------------------------------------------------------------------------------------------

// What may be in the directory of a new repository: what an init that was cut left, and what file systems put there.
static int may_be_there(void *ctx, const char *name, bool is_dir)
{
    static const char *const known[] = {"config",
                                        "keys",
                                        "epochs",
                                        "packs",
                                        "points",
                                        "leases",
                                        "doomed",
                                        "holds",
                                        "history",
                                        "lost+found",
                                        REPOSITORY_INIT_LOCK};
    char *foreign = ctx;

    (void)is_dir;
    for (size_t i = 0; i < BR_ARRAY_LEN(known); i++) {
        if (!strcmp(name, known[i])) {
            return 0;
        }
    }
    snprintf(foreign, NAME_MAX + 1, "%s", name);
    return 1;
}

// Of two that make a repository in one place, one is told; and none is made among somebody's files.
static int make_checks(struct br_dir *dir, const char *path, struct br_err *reterr)
{
    char foreign[NAME_MAX + 1], quoted[2 * NAME_MAX];
    int error = br_dir_list(dir, may_be_there, foreign, reterr);

    if (error > 0) {
        br_quote(foreign, quoted, sizeof(quoted));
        return br_err_set(reterr, BR_E_REFUSED, "%s is not empty: it holds %s", path, quoted);
    }
    return error ? error : br_dir_lock(dir, REPOSITORY_INIT_LOCK, reterr);
}

int repository_store(struct br_ring *ring, const char *path, bool make, bool read_only, struct br_store *ret_store,
                     struct br_err *reterr)
{
    struct br_dir *dir;
    int error = 0;

    if (make && mkdir(path, 0700) && errno != EEXIST) {
        return br_err_os(reterr, errno, "making %s", path);
    }
    if (make) {
        char trimmed[PATH_MAX];
        size_t len = strlen(path);

        while (len > 1 && path[len - 1] == '/') {
            len--;
        }
        snprintf(trimmed, sizeof(trimmed), "%.*s", (int)len, path);
        error = sync_folder_of(trimmed, reterr);
    }
    if (error) {
        return error;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return br_err_os(reterr, errno, "opening the repository %s", path);
    }
    error = br_dir_wrap(ring, fd, &dir, reterr);
    if (error) {
        return error;
    }
    error = make ? make_checks(dir, path, reterr) : 0;
    if (error) {
        br_dir_close(dir);
        return error;
    }
    return br_store_dir_open(ring, dir, read_only, ret_store, reterr);
}

int repository_store_at(struct cli *cli, struct br_ring *ring, const char *path, bool make, bool read_only,
                        struct br_store *ret_store, struct br_err *reterr)
{
    struct place_address address;

    if (!is_address(path)) {
        return repository_store(ring, path, make, read_only, ret_store, reterr);
    }
    int error = place_resolve(cli, path, "repository", &address, reterr);
    return error ? error : remote_open_store(cli, ring, &address, !read_only, ret_store, reterr);
}

// Secrets -----------------------------------------------------------------------------------------------------------------------------

static int secret_from_terminal(const char *question, char *line, struct br_err *reterr)
{
    struct termios was, quiet;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    size_t len = 0;
    char c;

    if (tty < 0 || tcgetattr(tty, &was)) {
        if (tty >= 0) {
            close(tty);
        }
        return br_err_set(reterr, BR_E_KEY, "no passphrase was given, and there is no terminal to ask on");
    }
    quiet = was;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    dprintf(tty, "%s: ", question);
    tcsetattr(tty, TCSAFLUSH, &quiet);
    while (read(tty, &c, 1) == 1 && c != '\n' && len + 1 < PASSPHRASE_BYTES) {
        line[len++] = c;
    }
    line[len] = 0;
    tcsetattr(tty, TCSAFLUSH, &was);
    dprintf(tty, "\n");
    close(tty);
    return cli_cancel ? br_err_set(reterr, BR_E_CANCELLED, "asking for the passphrase") : 0;
}

// The first line of a file, without its end.
static int read_line(struct cli *cli, const char *path, char *line, size_t room, struct br_err *reterr)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    size_t len = 0;
    ssize_t got = 1;

    if (fd < 0 || fstat(fd, &st)) {
        int os_errno = errno;

        if (fd >= 0) {
            close(fd);
        }
        return br_err_os(reterr, os_errno, "opening %s", path);
    }
    if (S_ISREG(st.st_mode) && st.st_mode & 077) {
        cli_warn(cli, "others may read %s: chmod 600 it", path);
    }
    while (len + 1 < room && got > 0) {
        got = read(fd, line + len, room - 1 - len);
        len += got > 0 ? (size_t)got : 0;
    }
    int os_errno = got < 0 ? errno : 0;
    close(fd);
    line[len] = 0;
    if (os_errno) {
        return br_err_os(reterr, os_errno, "reading %s", path);
    }
    if (!strchr(line, '\n') && len + 1 == room) {
        return br_err_set(reterr, BR_E_LIMIT, "the first line of %s is longer than %zu bytes", path, room - 2);
    }
    line[strcspn(line, "\r\n")] = 0;
    return *line ? 0 : br_err_set(reterr, BR_E_KEY, "the first line of %s is empty", path);
}

// A recovery key as it is printed: the key and two bytes that tell a slip of the pen, in base 32, five characters a group.
#define RECOVERY_BYTES (BR_KEY_BYTES + 2u)
#define RECOVERY_CHARS BR_BASE32_CHARS(RECOVERY_BYTES)

static void recovery_check(const struct br_key *key, uint8_t check[2])
{
    uint8_t hash[32];

    if (EVP_Digest(key->bytes, sizeof(key->bytes), hash, NULL, EVP_sha256(), NULL) != 1) {
        abort();
    }
    memcpy(check, hash, 2);
}

static bool recovery_parse(const char *text, struct br_key *ret_key)
{
    char packed[RECOVERY_CHARS + 1];
    uint8_t bytes[RECOVERY_BYTES], check[2];
    size_t len = 0;

    for (; *text; text++) {
        if (*text == '-' || *text == ' ') {
            continue;
        }
        if (len == RECOVERY_CHARS) {
            return false;
        }
        packed[len++] = *text;
    }
    if (!br_base32_parse(packed, len, bytes, sizeof(bytes))) {
        return false;
    }
    memcpy(ret_key->bytes, bytes, BR_KEY_BYTES);
    recovery_check(ret_key, check);
    br_wipe(packed, sizeof(packed));
    return !memcmp(check, bytes + BR_KEY_BYTES, 2);
}

void repository_recovery_draw(struct br_ring *ring, struct br_key *ret_key, char text[REPOSITORY_RECOVERY_BYTES])
{
    char packed[RECOVERY_CHARS + 1];
    uint8_t bytes[RECOVERY_BYTES];

    br_ring_random(ring, ret_key->bytes, sizeof(ret_key->bytes));
    memcpy(bytes, ret_key->bytes, BR_KEY_BYTES);
    recovery_check(ret_key, bytes + BR_KEY_BYTES);
    br_base32_text(bytes, sizeof(bytes), packed);
    for (size_t i = 0; i < RECOVERY_CHARS; i++) {
        if (i && i % 5 == 0) {
            *text++ = '-';
        }
        *text++ = packed[i];
    }
    *text = 0;
    br_wipe(packed, sizeof(packed));
    br_wipe(bytes, sizeof(bytes));
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int make_key_file(struct br_ring *ring, const char *path, struct br_err *reterr)
{
    char text[KEY_FILE_DIGITS + 2];
    struct br_key key;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        return br_err_os(reterr, errno, "making %s", path);
    }
    br_ring_random(ring, key.bytes, sizeof(key.bytes));
    for (size_t i = 0; i < sizeof(key.bytes); i++) {
        snprintf(text + 2 * i, 3, "%02x", key.bytes[i]);
    }
    text[KEY_FILE_DIGITS] = '\n';
    int error = write(fd, text, KEY_FILE_DIGITS + 1) != (ssize_t)(KEY_FILE_DIGITS + 1) || fsync(fd)
                    ? br_err_os(reterr, errno ? errno : EIO, "writing %s", path)
                    : 0;
    close(fd);
    br_key_wipe(&key);
    br_wipe(text, sizeof(text));
    return error ? error : sync_folder_of(path, reterr);
}

static int secret_of_key_file(struct cli *cli, const char *path, bool make, struct repository_secret *secret,
                              struct br_err *reterr)
{
    char line[KEY_FILE_DIGITS + 8];
    int error = 0;

    if (make && access(path, F_OK)) {
        struct br_ring *ring;

        error = place_ring(cli, &ring, reterr);
        if (!error) {
            error = make_key_file(ring, path, reterr);
            br_ring_close(ring);
        }
    }
    error = error ? error : read_line(cli, path, line, sizeof(line), reterr);
    bool good = !error && strlen(line) == KEY_FILE_DIGITS;
    for (size_t i = 0; good && i < BR_KEY_BYTES; i++) {
        int high = hex_value(line[2 * i]), low = hex_value(line[2 * i + 1]);

        good = high >= 0 && low >= 0;
        secret->key.bytes[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    br_wipe(line, sizeof(line));
    if (!error && !good) {
        error = br_err_set(reterr, BR_E_KEY, "%s is no key file: it should hold %u hexadecimal digits", path,
                           KEY_FILE_DIGITS);
    }
    secret->secret.key_file = &secret->key;
    return error;
}

static int ask_passphrase(const char *question, bool make, char *line, struct br_err *reterr)
{
    char again[PASSPHRASE_BYTES];
    int error = secret_from_terminal(question, line, reterr);

    if (!error && make) {
        error = secret_from_terminal("the same again", again, reterr);
        if (!error && strcmp(line, again) != 0) {
            error = br_err_set(reterr, BR_E_USAGE, "the two passphrases differ");
        }
        br_wipe(again, sizeof(again));
    }
    return error;
}

// What the verb's options say, else what the section says.
static const char *secret_file(struct cli *cli, const char *section, const char *option)
{
    const struct conf *conf;
    struct br_err none;

    if (cli_text(cli, option)) {
        return cli_text(cli, option);
    }
    return section && !conf_of(cli, &conf, &none) ? conf_get(conf, "repository", section, option) : NULL;
}

// Where a secret comes from; NULLs: not from there.
struct secret_source {
    const char *key_file;
    const char *passphrase_file;
    const char *environment;
    const char *question; // else, on the terminal
};

#define QUESTION_BYTES (PATH_MAX + 40)

// What was typed for the repository that is open, wiped when one is closed: it may open the one that is written to, too.
static char typed[PASSPHRASE_BYTES];

static int take_passphrase(struct cli *cli, const struct secret_source *source, bool make,
                           struct repository_secret *secret, struct br_err *reterr)
{
    const char *environment = source->environment;
    int error = 0;

    secret->passphrase = calloc(1, PASSPHRASE_BYTES);
    if (!secret->passphrase) {
        return br_err_set(reterr, BR_E_NOMEM, "the passphrase");
    }
    if (source->passphrase_file) {
        error = read_line(cli, source->passphrase_file, secret->passphrase, PASSPHRASE_BYTES, reterr);
    } else if (environment) {
        error = strlen(environment) >= PASSPHRASE_BYTES
                    ? br_err_set(reterr, BR_E_LIMIT, "a passphrase of more than %u bytes", PASSPHRASE_BYTES - 1)
                    : 0;
        snprintf(secret->passphrase, PASSPHRASE_BYTES, "%s", environment);
    } else {
        error = ask_passphrase(source->question, make, secret->passphrase, reterr);
        secret->typed = !error;
    }
    if (!error && !*secret->passphrase) {
        error = make ? br_err_set(reterr, BR_E_USAGE, "an empty passphrase would open it to everybody")
                     : br_err_set(reterr, BR_E_KEY, "the passphrase is empty");
    }
    secret->secret.passphrase = secret->passphrase;
    secret->secret.passphrase_len = strlen(secret->passphrase);
    // A recovery key is given where the passphrase is asked for.
    if (!error && !make && recovery_parse(secret->passphrase, &secret->key)) {
        secret->secret.recovery = &secret->key;
    }
    return error;
}

static int take_secret(struct cli *cli, const struct secret_source *source, bool make, struct repository_secret *secret,
                       struct br_err *reterr)
{
    *secret = (struct repository_secret){0};
    if (source->key_file && source->passphrase_file) {
        return br_err_set(reterr, BR_E_USAGE, "a key file and a passphrase file at once");
    }
    return source->key_file ? secret_of_key_file(cli, source->key_file, make, secret, reterr)
                            : take_passphrase(cli, source, make, secret, reterr);
}

static int secret_for(struct cli *cli, const char *section, const char *question, bool make,
                      struct repository_secret *ret_secret, struct br_err *reterr)
{
    struct secret_source source = {
        .question = question,
        .key_file = cli_text(cli, "key-file"),
        .passphrase_file = cli_text(cli, "passphrase-file"),
        .environment = getenv("BLKREP_PASSPHRASE"),
    };

    if (!source.key_file && !source.passphrase_file && !source.environment) {
        source.key_file = secret_file(cli, section, "key-file");
        source.passphrase_file = source.key_file ? NULL : secret_file(cli, section, "passphrase-file");
    }
    return take_secret(cli, &source, make, ret_secret, reterr);
}

int repository_secret(struct cli *cli, const char *section, bool make, struct repository_secret *ret_secret,
                      struct br_err *reterr)
{
    return secret_for(cli, section, make ? "passphrase for the new repository" : "passphrase of the repository", make,
                      ret_secret, reterr);
}

// It goes to a terminal.
static void ask_of(const char *path, const char *what, char question[QUESTION_BYTES])
{
    char quoted[QUESTION_BYTES - 20];

    br_quote(path, quoted, sizeof(quoted));
    snprintf(question, QUESTION_BYTES, "%s of %s", what, quoted);
}

int repository_new_secret(struct cli *cli, const struct repository *repository, struct repository_secret *ret_secret,
                          struct br_err *reterr)
{
    char question[QUESTION_BYTES];
    const struct secret_source source = {
        .question = question,
        .key_file = cli_text(cli, "new-key-file"),
        .passphrase_file = cli_text(cli, "new-passphrase-file"),
        .environment = getenv("BLKREP_NEW_PASSPHRASE"),
    };

    ask_of(repository->path, "new passphrase", question);
    return take_secret(cli, &source, true, ret_secret, reterr);
}

void repository_secret_free(struct repository_secret *secret)
{
    if (secret->passphrase) {
        br_wipe(secret->passphrase, PASSPHRASE_BYTES);
        free(secret->passphrase);
    }
    br_key_wipe(&secret->key);
    *secret = (struct repository_secret){0};
}

// Handing on --------------------------------------------------------------------------------------------------------------------------

static int secret_to_memory(const struct repository_secret *secret, int *ret_fd, struct br_err *reterr)
{
    char text[BR_MAX(PASSPHRASE_BYTES, KEY_FILE_DIGITS) + 2];
    int made = memfd_create("blkrep-secret", MFD_CLOEXEC);
    int fd = fcntl(made, F_DUPFD, 10); // a child may be given others from 3 on

    if (made >= 0) {
        close(made);
    }
    if (secret->secret.key_file) {
        for (size_t i = 0; i < BR_KEY_BYTES; i++) {
            snprintf(text + 2 * i, 3, "%02x", secret->key.bytes[i]);
        }
    } else {
        snprintf(text, sizeof(text), "%s", secret->passphrase);
    }
    size_t len = strlen(text);
    int error = fd < 0 || fchmod(fd, 0600) || write(fd, text, len) != (ssize_t)len
                    ? br_err_os(reterr, errno, "keeping the secret for a child process")
                    : 0;
    br_wipe(text, sizeof(text));
    if (error && fd >= 0) {
        close(fd);
    }
    *ret_fd = error ? -1 : fd;
    return error;
}

int repository_secret_hand_on(struct cli *cli, struct br_ring *ring, const char *word, int *ret_fd,
                              struct br_err *reterr)
{
    static char path[40]; // an option's value, which must live on
    struct br_repo_config config;
    struct br_store store;
    struct repository_secret secret = {0};
    char given[PATH_MAX];
    int error = repository_path(cli, word, given, reterr);

    *ret_fd = -1;
    error = error ? error : repository_store_at(cli, ring, given, false, true, &store, reterr);
    if (error) {
        return error;
    }
    error = br_repo_look(&store, &config, reterr);
    store.ops->close(store.ctx);
    if (error) {
        return br_err_prefix(reterr, "%s", given);
    }
    if (!config.encrypted) {
        return 0;
    }
    char question[QUESTION_BYTES];
    ask_of(given, "passphrase", question);
    error = secret_for(cli, strchr(word, '/') ? NULL : word, question, false, &secret, reterr);
    error = error ? error : secret_to_memory(&secret, ret_fd, reterr);
    if (!error) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", *ret_fd);
        cli_set(cli, "key-file", secret.secret.key_file ? path : NULL);
        cli_set(cli, "passphrase-file", secret.secret.key_file ? NULL : path);
    }
    repository_secret_free(&secret);
    return error;
}

// Opening -----------------------------------------------------------------------------------------------------------------------------

static void encrypted_mark(const char *path, char mark[60])
{
    snprintf(mark, 60, "encrypted-%016" PRIx64, XXH3_64bits(path, strlen(path)));
}

static int mark_encrypted(int fd, const char *name, bool encrypted, bool *ret_was, struct br_err *reterr)
{
    *ret_was = !faccessat(fd, name, F_OK, 0);
    if (encrypted && !*ret_was) {
        int made = openat(fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (made < 0) {
            return br_err_os(reterr, errno, "noting that the repository is encrypted");
        }
        close(made);
    }
    return 0;
}

void repository_forget_encrypted(struct cli *cli, const char *path)
{
    char real[PATH_MAX], mark[60];
    int fd;

    if (is_address(path)) {
        snprintf(real, sizeof(real), "%s", path);
    } else if (!realpath(path, real)) {
        return;
    }
    if (!place_state_dir(cli, "repositories", &fd, NULL)) {
        encrypted_mark(real, mark);
        unlinkat(fd, mark, 0);
        close(fd);
    }
}

// What this host remembers of a repository lies in STATE/repositories/UUID: "encrypted" is there when it was, so that nobody who exchanges the
// config makes it write in the open. The index's folder is named by the repository's place too: two copies of one repository are two.
static int open_states(struct cli *cli, struct repository *repository, const struct br_repo_config *config,
                       bool *ret_was_encrypted, int *ret_index_fd, struct br_err *reterr)
{
    char leaf[120], state[PATH_MAX], uuid[BR_UUID_TEXT_BYTES];
    int fd = -1;
    int error = place_state_path(cli, state, reterr);

    br_uuid_text(&config->repository, uuid);
    snprintf(leaf, sizeof(leaf), "repositories/%s", uuid);
    error = error ? error : place_state_dir(cli, leaf, &fd, reterr);
    if (error) {
        return error;
    }
    error = mark_encrypted(fd, "encrypted", config->encrypted, ret_was_encrypted, reterr);
    close(fd);
    // By its place too, since whoever exchanges the config chooses the uuid.
    bool here = false;
    char mark[60];
    error = error ? error : place_state_dir(cli, "repositories", &fd, reterr);
    if (!error) {
        encrypted_mark(repository->path, mark);
        error = mark_encrypted(fd, mark, config->encrypted, &here, reterr);
        *ret_was_encrypted = *ret_was_encrypted || here;
        close(fd);
    }
    size_t used = strlen(leaf);
    snprintf(leaf + used, sizeof(leaf) - used, "/index-%016" PRIx64,
             XXH3_64bits(repository->path, strlen(repository->path)));
    return error ? error : place_state_dir(cli, leaf, ret_index_fd, reterr);
}

// Was a secret given for just this repository, though it may say that it needs none?
static bool secret_given(struct cli *cli, const char *section, bool target)
{
    if (target) {
        return getenv("BLKREP_TO_PASSPHRASE") || cli_text(cli, "to-key-file") || cli_text(cli, "to-passphrase-file");
    }
    return getenv("BLKREP_PASSPHRASE") || secret_file(cli, section, "key-file") ||
           secret_file(cli, section, "passphrase-file");
}

// @ret_same  what was typed for the first repository; untouched: another one
static int target_secret(struct cli *cli, const char *section, const char *question, struct repository_secret *secret,
                         bool *ret_same, struct br_err *reterr)
{
    const struct conf *conf;
    struct secret_source source = {
        .question = question,
        .key_file = cli_text(cli, "to-key-file"),
        .passphrase_file = cli_text(cli, "to-passphrase-file"),
        .environment = getenv("BLKREP_TO_PASSPHRASE"),
    };
    struct br_err none;

    if (!secret_given(cli, section, true) && section && !conf_of(cli, &conf, &none)) {
        source.key_file = conf_get(conf, "repository", section, "key-file");
        source.passphrase_file = source.key_file ? NULL : conf_get(conf, "repository", section, "passphrase-file");
    }
    bool own = source.key_file || source.passphrase_file || source.environment;
    if (!own && *typed) {
        own = *ret_same = true;
        source.environment = typed;
    }
    return own ? take_secret(cli, &source, false, secret, reterr)
               : secret_for(cli, NULL, question, false, secret, reterr);
}

// With another secret than the one that failed. Takes @params->index_fd.
static int open_asked(struct cli *cli, const char *question, struct br_repo_params *params,
                      struct repository *repository, struct repository_secret *secret, struct br_err *reterr)
{
    repository_secret_free(secret);
    int error = secret_for(cli, NULL, question, false, secret, reterr);

    if (error) {
        close(params->index_fd);
        return error;
    }
    params->secret = secret->secret;
    return br_repo_open(params, &repository->repo, reterr);
}

static int open_with_secret(struct cli *cli, const char *word, bool target, struct repository *repository,
                            struct br_err *reterr)
{
    struct repository_secret secret = {0};
    struct br_repo_config config;
    struct br_repo_params params = {.store = repository->store, .index_fd = -1};
    bool was_encrypted = false, same = false;
    int error = br_repo_look(&repository->store, &config, reterr);

    error = error ? error : open_states(cli, repository, &config, &was_encrypted, &params.index_fd, reterr);
    const char *section = strchr(word, '/') ? NULL : word;
    bool given = secret_given(cli, section, target);
    char question[QUESTION_BYTES];
    if (!error && was_encrypted && !config.encrypted) {
        close(params.index_fd);
        error = br_err_set(reterr, BR_E_KEY, "it says that it is not encrypted, and it was when this host saw it last");
    } else if (!error && !config.encrypted && !target && getenv("BLKREP_PASSPHRASE")) {
        close(params.index_fd);
        error = br_err_set(reterr, BR_E_KEY,
                           "$BLKREP_PASSPHRASE is set, and the repository says that it is not encrypted: unset it, if "
                           "that is meant");
    } else if (!error && (config.encrypted || given)) {
        ask_of(repository->path, "passphrase", question);
        error = target ? target_secret(cli, section, question, &secret, &same, reterr)
                       : secret_for(cli, section, question, false, &secret, reterr);
        if (error) {
            close(params.index_fd);
        }
    }
    int again_fd = same ? fcntl(params.index_fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (!error) {
        params.secret = secret.secret;
        error = br_repo_open(&params, &repository->repo, reterr);
    }
    if (error == -BR_E_KEY && again_fd >= 0) {
        params.index_fd = again_fd;
        error = open_asked(cli, question, &params, repository, &secret, reterr);
    } else if (again_fd >= 0) {
        close(again_fd);
    }
    if (error) {
        br_err_prefix(reterr, "%s", repository->path);
    } else if (secret.typed) {
        snprintf(typed, sizeof(typed), "%s", secret.passphrase);
    }
    repository_secret_free(&secret);
    return error;
}

// Rollbacks ---------------------------------------------------------------------------------------------------------------------------

struct rollback {
    struct cli *cli;
    const struct repository *repository;
};

static void warn_of_rollback(void *ctx, const struct br_uuid *volume, const char *what)
{
    const struct rollback *rollback = ctx;
    char uuid[BR_UUID_TEXT_BYTES];

    br_uuid_text(volume, uuid);
    cli_warn(rollback->cli, "%s IS NOT WHAT IT WAS: %s%.8s%s%s", rollback->repository->path,
             br_uuid_is_nil(volume) ? "" : "volume ", br_uuid_is_nil(volume) ? "" : uuid,
             br_uuid_is_nil(volume) ? "" : ": ", what);
}

static int audit_rollback(struct cli *cli, const struct repository *repository, const char *act, struct br_err *reterr)
{
    json_t *details = json_object();

    json_object_set_new(details, "rolled_back", json_integer(repository->rolled_back));
    return audit_append(cli, act, repository->path, details, reterr);
}

// Where it lies is part of what it is: a copy elsewhere may lag behind.
static int open_heads(struct cli *cli, struct repository *repository, struct br_err *reterr)
{
    char leaf[120], uuid[BR_UUID_TEXT_BYTES];
    int fd = -1;

    br_uuid_text(&br_repo_config_of(repository->repo)->repository, uuid);
    snprintf(leaf, sizeof(leaf), "repositories/%s/heads-%016" PRIx64, uuid,
             XXH3_64bits(repository->path, strlen(repository->path)));
    int error = place_state_dir(cli, leaf, &fd, reterr);
    return error ? error : br_dir_wrap(repository->store.ring, fd, &repository->heads, reterr);
}

// Does it show all that this host saw there?
static int check_heads(struct cli *cli, struct repository *repository, bool read_only, struct br_err *reterr)
{
    struct rollback rollback = {.cli = cli, .repository = repository};
    bool accept = cli_flag(cli, "accept-rollback");
    int error = open_heads(cli, repository, reterr);
    int told =
        error ? error : br_heads_check(repository->heads, repository->repo, false, warn_of_rollback, &rollback, reterr);

    repository->rolled_back = told > 0 ? (unsigned)told : 0;
    if (told <= 0) {
        return told;
    }
    error = audit_rollback(cli, repository, accept ? "accept-rollback" : "rollback", reterr);
    if (!error && accept) {
        told = br_heads_check(repository->heads, repository->repo, true, warn_of_rollback, &rollback, reterr);
        repository->rolled_back = 0;
        cli_warn(cli, "%s: what it shows now counts from now on", repository->path);
        return BR_MIN(told, 0);
    }
    return error || read_only ? error : repository_result(repository, 0, reterr);
}

int repository_result(const struct repository *repository, int error, struct br_err *reterr)
{
    return error || !repository->rolled_back
               ? error
               : br_err_set(reterr, BR_E_ROLLBACK, "%s: what it shows is older than, or other than, what was there",
                            repository->path);
}

static void learn_heads(struct cli *cli, struct repository *repository, const struct br_point *points, size_t count)
{
    struct br_err err = {0};

    if (br_heads_learn(repository->heads, repository->repo, points, count, &err)) {
        cli_warn(cli, "%s: what was seen of it could not be noted: %s", repository->path, err.text);
    }
}

static void know_already(void *ctx, const struct br_uuid *volume, const char *what)
{
    (void)ctx;
    (void)volume;
    (void)what;
}

void repository_removed(struct cli *cli, struct repository *repository)
{
    struct br_err err = {0};

    if (br_heads_check(repository->heads, repository->repo, true, know_already, NULL, &err) < 0) {
        cli_warn(cli, "%s: that points were removed could not be noted: %s", repository->path, err.text);
    }
}

void repository_note(struct cli *cli, struct repository *repository, const struct br_point *point)
{
    learn_heads(cli, repository, point, 1);
}

static int open_word(struct cli *cli, struct br_ring *ring, const char *word, bool read_only, bool target,
                     struct repository *ret_repository, struct br_err *reterr)
{
    struct repository *repository = ret_repository;
    char path[PATH_MAX];
    int error;

    *repository = (struct repository){0};
    error = repository_path(cli, word, path, reterr);
    if (!error && is_address(path)) {
        snprintf(repository->path, sizeof(repository->path), "%s", path);
    } else if (!error && !realpath(path, repository->path)) {
        error = br_err_os(reterr, errno, "opening the repository %s", path);
    }
    error =
        error ? error : repository_store_at(cli, ring, repository->path, false, read_only, &repository->store, reterr);
    error = error ? error : open_with_secret(cli, word, target, repository, reterr);
    error = error ? error : br_repo_refresh(repository->repo, &repository->refreshed, reterr);
    if (!error && repository->refreshed.dropped) {
        cli_warn(cli, "%" PRIu64 " packs are not there any more: see blkrep verify", repository->refreshed.dropped);
    }
    if (!error && repository->refreshed.damaged) {
        cli_warn(cli, "%" PRIu64 " damaged pack%s: %s; what is in there is missing", repository->refreshed.damaged,
                 repository->refreshed.damaged == 1 ? "" : "s", repository->refreshed.first_damaged);
    }
    return error ? error : check_heads(cli, repository, read_only, reterr);
}

int repository_open(struct cli *cli, struct br_ring *ring, const char *word, bool read_only,
                    struct repository *ret_repository, struct br_err *reterr)
{
    return open_word(cli, ring, word, read_only, false, ret_repository, reterr);
}

int repository_open_target(struct cli *cli, struct br_ring *ring, const char *word, struct repository *ret_repository,
                           struct br_err *reterr)
{
    return open_word(cli, ring, word, false, true, ret_repository, reterr);
}

int repository_domain(struct cli *cli, struct br_ring *ring, const struct repository *repository,
                      struct br_uuid *ret_domain, struct br_err *reterr)
{
    char leaf[100], uuid[BR_UUID_TEXT_BYTES];
    struct br_dir *dir;
    int fd;

    br_uuid_text(&br_repo_config_of(repository->repo)->repository, uuid);
    snprintf(leaf, sizeof(leaf), "repositories/%s", uuid);
    int error = place_state_dir(cli, leaf, &fd, reterr);
    error = error ? error : br_dir_wrap(ring, fd, &dir, reterr);
    if (!error) {
        error = br_volume_ensure(ring, dir, ret_domain, reterr);
        br_dir_close(dir);
    }
    return BR_MIN(error, 0);
}

void repository_close(struct repository *repository)
{
    br_repo_close(repository->repo);
    br_dir_close(repository->heads);
    if (repository->store.ops) {
        repository->store.ops->close(repository->store.ctx);
    }
    br_wipe(typed, sizeof(typed));
    *repository = (struct repository){0};
}

// Points ------------------------------------------------------------------------------------------------------------------------------

struct point_list {
    struct cli *cli;
    struct repository_points *points;
    const char *volume; // --volume, NULL any
    struct br_err *reterr;
};

static bool is_volume(const struct br_point *point, const char *text)
{
    char uuid[BR_UUID_TEXT_BYTES];

    const char *slash = strrchr(point->label, '/');
    br_uuid_text(&point->volume, uuid);
    return !strcmp(point->label, text) || (slash && !strcmp(slash + 1, text)) ||
           (strlen(text) >= 4 && !strncmp(uuid, text, strlen(text)));
}

int repository_points_add(struct repository_points *points, const struct br_point *point, struct br_err *reterr)
{
    if (!(points->count & (points->count - 1))) {
        void *more = realloc(points->points, (points->count ? 2 * points->count : 1) * sizeof(*points->points));

        if (!more) {
            return br_err_set(reterr, BR_E_NOMEM, "the points");
        }
        points->points = more;
    }
    points->points[points->count++] = *point;
    return 0;
}

static int add_point(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    const struct point_list *list = ctx;
    struct repository_points *points = list->points;

    if (rc < 0) {
        cli_warn(list->cli, "a damaged point: %s", err->text);
        points->damaged++;
        return 0;
    }
    return list->volume && !is_volume(point, list->volume) ? 0 : repository_points_add(points, point, list->reterr);
}

static int point_order(const void *a, const void *b)
{
    const struct br_point *left = a, *right = b;

    if (left->taken_unix_ns != right->taken_unix_ns) {
        return left->taken_unix_ns < right->taken_unix_ns ? -1 : 1;
    }
    return left->counter != right->counter ? (left->counter < right->counter ? -1 : 1)
                                           : memcmp(left->id.bytes, right->id.bytes, BR_UUID_BYTES);
}

int repository_points_of(struct cli *cli, struct repository *repository, const char *volume,
                         struct repository_points *ret_points, struct br_err *reterr)
{
    struct point_list list = {.cli = cli, .points = ret_points, .volume = volume, .reterr = reterr};

    *ret_points = (struct repository_points){0};
    int error = br_repo_points(repository->repo, NULL, add_point, &list, reterr);
    if (!error && ret_points->count) {
        qsort(ret_points->points, ret_points->count, sizeof(*ret_points->points), point_order);
    }
    if (!error && !repository->rolled_back) {
        learn_heads(cli, repository, ret_points->points, ret_points->count);
    }
    return error;
}

int repository_points(struct cli *cli, struct repository *repository, struct repository_points *ret_points,
                      struct br_err *reterr)
{
    const char *volume = cli_text(cli, "volume");
    int error = repository_points_of(cli, repository, volume, ret_points, reterr);

    // One that does not open may be that volume's.
    return error || !volume || ret_points->count || ret_points->damaged
               ? error
               : br_err_set(reterr, BR_E_NOT_FOUND, "no volume %s in %s", volume, repository->path);
}

void repository_points_free(struct repository_points *points)
{
    free(points->points);
    *points = (struct repository_points){0};
}

int repository_tags(const char *given, char *room, size_t room_bytes, const char *ret_tags[BR_POINT_TAGS_MAX + 1],
                    struct br_err *reterr)
{
    char *rest = room;
    unsigned count = 0;

    ret_tags[0] = NULL;
    if (!given) {
        return 0;
    }
    if (strlen(given) >= room_bytes) {
        return br_err_set(reterr, BR_E_USAGE, "more tags than a point can have");
    }
    snprintf(room, room_bytes, "%s", given);
    for (char *tag; (tag = strsep(&rest, ",")) != NULL;) {
        if (!*tag || strlen(tag) >= BR_POINT_TAG_BYTES) {
            return br_err_set(reterr, BR_E_USAGE, "a tag has 1 to %u bytes", BR_POINT_TAG_BYTES - 1);
        }
        if (count == BR_POINT_TAGS_MAX) {
            return br_err_set(reterr, BR_E_USAGE, "a point has at most %u tags", BR_POINT_TAGS_MAX);
        }
        ret_tags[count++] = tag;
        ret_tags[count] = NULL;
    }
    return 0;
}

bool repository_time(const char *text, uint64_t *ret_unix_ns)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S",
                                        "%Y-%m-%dT%H:%M:%S"};

    for (size_t i = 0; i < BR_ARRAY_LEN(forms); i++) {
        struct tm tm = {.tm_isdst = -1};
        const char *end = strptime(text, forms[i], &tm);
        bool utc = end && !strcmp(end, "Z");

        if (end && (!*end || utc)) {
            // A day alone is all of it.
            if (!i) {
                tm.tm_hour = 23;
                tm.tm_min = tm.tm_sec = 59;
            }
            time_t seconds = utc ? timegm(&tm) : mktime(&tm);
            *ret_unix_ns = seconds < 0 ? 0 : (uint64_t)seconds * BR_NS_PER_S + BR_NS_PER_S - 1;
            return seconds >= 0;
        }
    }
    return false;
}

static int several_volumes(const struct repository_points *points, struct br_err *reterr)
{
    const struct br_point *first = &points->points[0];

    char one[BR_UUID_TEXT_BYTES], other[BR_UUID_TEXT_BYTES];

    br_uuid_text(&first->volume, one);
    for (size_t i = 1; i < points->count; i++) {
        if (!br_uuid_equal(&points->points[i].volume, &first->volume)) {
            br_uuid_text(&points->points[i].volume, other);
            return br_err_set(reterr, BR_E_USAGE,
                              "the repository has points of several volumes, %s (%.8s) and %s (%.8s) among them: say "
                              "which with --volume",
                              first->label, one, points->points[i].label, other);
        }
    }
    return 0;
}

// The point whose id begins with @digits, with or without hyphens.
static int point_by_id(const struct repository_points *points, const char *text, const struct br_point **ret_point,
                       struct br_err *reterr)
{
    const struct br_point *found = NULL;

    for (size_t i = 0; i < points->count; i++) {
        char uuid[BR_UUID_TEXT_BYTES];

        br_uuid_text(&points->points[i].id, uuid);
        if (!strncmp(uuid, text, strlen(text))) {
            if (found) {
                return br_err_set(reterr, BR_E_USAGE, "several points begin with %s", text);
            }
            found = &points->points[i];
        }
    }
    if (!found) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "no point %s", text);
    }
    *ret_point = found;
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct br_point *left = *(const struct br_point *const *)a, *right = *(const struct br_point *const *)b;

    return left->counter != right->counter ? (left->counter > right->counter ? -1 : 1)
                                           : -memcmp(left->id.bytes, right->id.bytes, BR_UUID_BYTES);
}

// The one behind the others in its chain, whatever clocks said; @points are of one volume.
static int latest_point(const struct repository_points *points, const char *text, uint64_t back,
                        const struct br_point **ret_point, struct br_err *reterr)
{
    if (points->damaged) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          "a point that does not open may be the latest: name one by its id (blkrep points)");
    }
    if (back >= points->count) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s: there are only %zu points", text, points->count);
    }
    BR_AUTO_FREE const struct br_point **chain = calloc(points->count, sizeof(*chain));
    if (!chain) {
        return br_err_set(reterr, BR_E_NOMEM, "the points");
    }
    for (size_t i = 0; i < points->count; i++) {
        chain[i] = &points->points[i];
    }
    qsort(chain, points->count, sizeof(*chain), newest_first);
    *ret_point = chain[back];
    return 0;
}

static int pick_point(const struct repository_points *points, const char *text, const struct br_point **ret_point,
                      struct br_err *reterr)
{
    uint64_t unix_ns, back = 0;
    char *end = NULL;
    bool latest = !strcmp(text, "latest");

    if (!points->count) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "there are no points");
    }
    if (!strncmp(text, "latest~", 7)) {
        back = strtoull(text + 7, &end, 10);
        if (!text[7] || *end) {
            return br_err_set(reterr, BR_E_USAGE, "'%s' is not of the form latest~N", text);
        }
        latest = true;
    }
    if (!latest && !repository_time(text, &unix_ns)) {
        return strlen(text) < 4
                   ? br_err_set(reterr, BR_E_USAGE,
                                "'%s' is neither latest, latest~N, a time, nor an id of at least 4 digits", text)
                   : point_by_id(points, text, ret_point, reterr);
    }
    int error = several_volumes(points, reterr);
    if (error) {
        return error;
    }
    if (latest) {
        return latest_point(points, text, back, ret_point, reterr);
    }
    size_t at = points->count - 1;
    while (points->points[at].taken_unix_ns > unix_ns) {
        if (!at--) {
            return br_err_set(reterr, BR_E_NOT_FOUND, "no point is as old as %s", text);
        }
    }
    *ret_point = &points->points[at];
    return 0;
}

int repository_point(struct cli *cli, struct repository *repository, const char *text, struct br_point *ret_point,
                     struct br_err *reterr)
{
    struct repository_points points;
    const struct br_point *found = NULL;
    int error = repository_points(cli, repository, &points, reterr);

    error = error ? error : pick_point(&points, text, &found, reterr);
    if (!error && found) {
        *ret_point = *found;
    } else {
        br_err_prefix(reterr, "%s", repository->path);
    }
    repository_points_free(&points);
    return error;
}
