// SPDX-License-Identifier: Apache-2.0
#include "tools/conf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_DEFAULT_PATH "/etc/blkrep/blkrep.conf"
#define CONF_BYTES_MAX    (1024 * 1024)
#define CONF_LINE_MAX     (INI_MAX_LINE - 2) // libinih cuts a longer one in two
#define CONF_SECTION_MAX  49                 // it cuts a longer name (MAX_SECTION in its ini.c)

const struct conf_key conf_keys[] = {
    {"volume", "path", CLI_PATH, "PATH", NULL,
     "The file or block device. `blkrep sync NAME ...` then means this path."},
    {"volume", "recheck-period", CLI_DURATION, "TIME", "30d",
     "Every block of its replicas is proven anew within this time by the rolling recheck."},
    {"volume", "before-snapshot", CLI_PATH, "PATH", NULL,
     "A script that is run before each snapshot of this attached volume, as `PATH before NAME`, and must exit with 0: else no snapshot is "
     "taken. It must be root's, file and folder. For databases see /usr/share/blkrep/hooks."},
    {"volume", "after-snapshot", CLI_PATH, "PATH", NULL,
     "A script that is run after it, as `PATH after NAME`, also when there was no snapshot."},
    {"volume", "hook-timeout", CLI_DURATION, "TIME", "30s",
     "A hook that takes longer is killed with all that it started. Nothing is frozen while a hook runs."},
    {"replica", "path", CLI_PATH, "PATH", NULL,
     "The replica's file or block device on this host, as a name for `blkrep sync` and as what `blkrep serve` offers under NAME."},
    {"replica", "address", CLI_TEXT, "blkrep://HOST[:PORT]/NAME", NULL, "The replica on another host."},
    {"replica", "overwrite", CLI_FLAG, NULL, "no",
     "Let `blkrep serve` make this replica from a target that holds something else. The first sync destroys what is there."},
    {"serve", "listen", CLI_TEXT, "HOST[:PORT]", "*",
     "Address to listen on, `*` for every one of this host; may hold several, separated by blanks. Port 4777 when none is given."},
    {"serve", "directory", CLI_PATH, "DIR", NULL,
     "Folder in which clients may make replicas as plain files, each named as the client names it. Without it only `[replica N]` "
     "sections are offered."},
    {"serve", "sessions-max", CLI_NUMBER, "N", "64", "Sessions at once; one more is told to come back."},
    {"serve", "sessions-per-address", CLI_NUMBER, "N", "16", "Sessions at once from one address."},
    {"serve", "handshakes-max", CLI_NUMBER, "N", "32",
     "Connections at once that have not yet proven who they are; at most half of them from one address (IPv6: one /64)."},
    {"serve", "handshake-timeout", CLI_DURATION, "TIME", "10s",
     "A connection that has not proven who it is by then is closed."},
    {"serve", "idle-timeout", CLI_DURATION, "TIME", "60s",
     "A session whose peer answers nothing for this long is closed."},
    {"serve", "bwlimit", CLI_SIZE, "SIZE", "0", "Bytes per second taken from one session; 0 is no limit."},
    {"serve", "volume-max", CLI_SIZE, "SIZE", "64TiB", "Largest volume that a client may make in `directory`."},
    {"serve", "stop-timeout", CLI_DURATION, "TIME", "20s",
     "After SIGTERM sessions that are past their commit get this long to finish; the rest stays resumable."},
    {NULL, NULL, CLI_FLAG, NULL, NULL, NULL},
};

struct conf_reader {
    struct conf *conf;
    const char *path;
    struct br_err *reterr;
    int error;
};

const struct conf_key *conf_key_find(const char *section, const char *key)
{
    for (const struct conf_key *row = conf_keys; row->section; row++) {
        if (!strcmp(row->section, section) && !strcmp(row->key, key)) {
            return row;
        }
    }
    return NULL;
}

static bool conf_section_known(const char *section)
{
    for (const struct conf_key *row = conf_keys; row->section; row++) {
        if (!strcmp(row->section, section)) {
            return true;
        }
    }
    return false;
}

static bool conf_flag_parse(const char *value, bool *ret_flag)
{
    if (!strcmp(value, "yes") || !strcmp(value, "no")) {
        *ret_flag = value[0] == 'y';
        return true;
    }
    return false;
}

static bool conf_decimal_parse(const char *value, uint64_t *ret_number)
{
    char *end;

    errno = 0;
    *ret_number = strtoull(value, &end, 10);
    return value[0] >= '0' && value[0] <= '9' && !*end && !errno;
}

static bool conf_value_ok(const struct conf_key *row, const char *value)
{
    uint64_t number;
    bool flag;

    switch (row->kind) {
    case CLI_SIZE: return br_size_parse(value, &number);
    case CLI_DURATION: return br_duration_parse(value, &number);
    case CLI_NUMBER: return conf_decimal_parse(value, &number) && number;
    case CLI_FLAG: return conf_flag_parse(value, &flag);
    case CLI_CHOICE:
    case CLI_TEXT:
    case CLI_PATH: return *value != 0;
    }
    return false;
}

// "replica web1" -> "replica", "web1". Blanks at the ends and between are no part of either.
static bool conf_section_split(const char *text, char **ret_section, char **ret_name)
{
    text += strspn(text, " \t");
    size_t len = strcspn(text, " \t");
    const char *name = text + len + strspn(text + len, " \t");
    size_t name_len = strlen(name);

    while (name_len && (name[name_len - 1] == ' ' || name[name_len - 1] == '\t')) {
        name_len--;
    }
    *ret_section = strndup(text, len);
    *ret_name = strndup(name, name_len);
    return *ret_section && *ret_name;
}

static int conf_fail(struct conf_reader *reader, const char *fmt, ...) BR_PRINTF(2, 3);

static int conf_fail(struct conf_reader *reader, const char *fmt, ...)
{
    char text[400];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    reader->error = br_err_set(reader->reterr, BR_E_CONFIG, "%s: %s", reader->path, text);
    return 0; // tells inih that this line is wrong
}

static const struct conf_entry *conf_find(const struct conf *conf, const char *section, const char *name,
                                          const char *key)
{
    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_entry *entry = &conf->entries[i];
        if (!strcmp(entry->section, section) && !strcmp(entry->name, name) && !strcmp(entry->key, key)) {
            return entry;
        }
    }
    return NULL;
}

static int conf_check_section(struct conf_reader *reader, const char *section, const char *name)
{
    bool named = strcmp(section, "serve") != 0;

    if (!conf_section_known(section)) {
        return conf_fail(reader, "unknown section [%s]", section);
    }
    if (!named && *name) {
        return conf_fail(reader, "section [serve] takes no name");
    }
    if (named && !*name) {
        return conf_fail(reader, "section [%s] needs a name: [%s NAME]", section, section);
    }
    if (strchr(name, '/')) {
        return conf_fail(reader, "the name in [%s %s] must not hold a slash", section, name);
    }
    return 1;
}

static int conf_check(struct conf_reader *reader, const char *section, const char *name, const char *key,
                      const char *value)
{
    const struct conf_key *row = conf_key_find(section, key);

    if (!row) {
        return *section ? conf_fail(reader, "unknown key %s in section [%s]", key, section)
                        : conf_fail(reader, "%s stands before the first [section]", key);
    }
    if (!conf_value_ok(row, value)) {
        return conf_fail(reader, "%s = %s is not a valid value", key, value);
    }
    if (row->kind == CLI_PATH && value[0] != '/') {
        return conf_fail(reader, "%s = %s must be an absolute path", key, value);
    }
    if (!strcmp(key, "address") && strncmp(value, "blkrep://", 9) != 0) {
        return conf_fail(reader, "%s = %s is not of the form %s", key, value, row->value);
    }
    if (conf_find(reader->conf, section, name, key)) {
        return conf_fail(reader, "%s is given twice in [%s]", key, section);
    }
    return 1;
}

static int conf_add(struct conf *conf, char *section, char *name, const char *key, const char *value)
{
    struct conf_entry *entries = realloc(conf->entries, (conf->count + 1) * sizeof(*entries));

    if (!entries) {
        return -BR_E_NOMEM;
    }
    conf->entries = entries;
    entries[conf->count] =
        (struct conf_entry){.section = section, .name = name, .key = strdup(key), .value = strdup(value)};
    if (!entries[conf->count].key || !entries[conf->count].value) {
        free(entries[conf->count].key);
        free(entries[conf->count].value);
        return -BR_E_NOMEM;
    }
    conf->count++;
    return 0;
}

static int conf_on_entry(void *user, const char *section_text, const char *key, const char *value)
{
    struct conf_reader *reader = user;
    char *section = NULL;
    char *name = NULL;

    if (reader->error) {
        return 0;
    }
    if (conf_section_split(section_text, &section, &name) && conf_check(reader, section, name, key, value)) {
        if (!conf_add(reader->conf, section, name, key, value)) {
            return 1;
        }
    }
    if (!reader->error) {
        reader->error = br_err_set(reader->reterr, BR_E_NOMEM, "reading %s", reader->path);
    }
    free(section);
    free(name);
    return 0;
}

// Who may write the configuration decides what runs as root: it must be ours or root's, and nobody else's to write.
static int conf_check_owner(int fd, const char *path, struct br_err *reterr)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return br_err_os(reterr, errno, "reading %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return br_err_set(reterr, BR_E_CONFIG, "%s is not a regular file", path);
    }
    if ((st.st_uid && st.st_uid != geteuid()) || (st.st_mode & 022)) {
        return br_err_set(reterr, BR_E_PERMISSION,
                          "%s must belong to root or to you and be writable by nobody else (chmod go-w)", path);
    }
    return 0;
}

// A section counts from its head on, so that one without a key is not taken for none.
static int conf_on_section(struct conf_reader *reader, const char *text, size_t len)
{
    char copy[CONF_SECTION_MAX + 1];
    char *section = NULL;
    char *name = NULL;

    if (len > CONF_SECTION_MAX) {
        return conf_fail(reader, "a section's name of more than %d characters", CONF_SECTION_MAX);
    }
    snprintf(copy, sizeof(copy), "%.*s", (int)len, text);
    bool ok = conf_section_split(copy, &section, &name);
    if (ok && conf_check_section(reader, section, name) && !conf_find(reader->conf, section, name, "") &&
        !conf_add(reader->conf, section, name, "", "")) {
        return 1;
    }
    if (!ok) {
        reader->error = br_err_set(reader->reterr, BR_E_NOMEM, "reading %s", reader->path);
    }
    free(section);
    free(name);
    return !reader->error;
}

// What libinih would cut or read as something else is refused. Lines are given to it without the blanks before them, which it takes for
// the continuation of a value, and without comments, which may be long.
static int conf_on_line(struct conf_reader *reader, const char *line, size_t len, struct br_buf *clean)
{
    while (len && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    if (memchr(line, 0, len)) {
        return conf_fail(reader, "a zero byte");
    }
    if (len && (*line == ';' || *line == '#')) {
        len = 0;
    }
    if (len > CONF_LINE_MAX) {
        return conf_fail(reader, "a line of more than %d bytes; a symbolic link gives a path a shorter name",
                         CONF_LINE_MAX);
    }
    const char *close = len && *line == '[' ? memchr(line, ']', len) : NULL;
    if (close && !conf_on_section(reader, line + 1, (size_t)(close - line - 1))) {
        return 0;
    }
    br_buf_append(clean, line, len);
    br_buf_u8(clean, '\n');
    return 1;
}

static int conf_at_line(const struct conf_reader *reader, int line, struct br_err *reterr)
{
    char text[sizeof(reterr->text)];

    if (!reader->error) {
        return br_err_set(reterr, BR_E_CONFIG, "%s:%d: not `[section name]` or `key = value`", reader->path, line);
    }
    if (reterr && reader->error == -BR_E_CONFIG) {
        snprintf(text, sizeof(text), "%s", reterr->text + strlen(reader->path) + 2);
        return br_err_set(reterr, BR_E_CONFIG, "%s:%d: %s", reader->path, line, text);
    }
    return reader->error;
}

static int conf_check_whole(const struct conf *conf, const char *path, struct br_err *reterr)
{
    for (size_t i = 0; i < conf->count; i++) {
        const char *section = conf->entries[i].section, *name = conf->entries[i].name;
        if (!strcmp(section, "serve")) {
            continue;
        }
        bool has_path = conf_find(conf, section, name, "path");
        bool has_address = conf_find(conf, section, name, "address");
        if (has_path && has_address) {
            return br_err_set(reterr, BR_E_CONFIG, "%s: [%s %s] has a path and an address: which is it?", path, section,
                              name);
        }
        if (!has_path && !has_address) {
            return br_err_set(reterr, BR_E_CONFIG, "%s: [%s %s] has no path%s", path, section, name,
                              strcmp(section, "replica") ? "" : " and no address");
        }
    }
    return 0;
}

static int conf_read(struct conf *conf, const char *path, const char *bytes, size_t len, struct br_err *reterr)
{
    struct conf_reader reader = {.conf = conf, .path = path, .reterr = reterr};
    struct br_buf clean = {0};
    const char *end = bytes + len;
    int line = 1;
    int error = 0;

    // A byte order mark is no part of the first line.
    bytes += len >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0;
    for (const char *at = bytes; at < end && !error; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        error = conf_on_line(&reader, at, (size_t)(stop - at), &clean) ? 0 : conf_at_line(&reader, line, reterr);
        at = stop + (stop < end);
    }
    br_buf_u8(&clean, 0);
    if (!error && br_buf_failed(&clean)) {
        error = br_err_set(reterr, BR_E_NOMEM, "reading %s", path);
    }
    line = error ? 0 : ini_parse_string((const char *)clean.data, conf_on_entry, &reader);
    br_buf_free(&clean);
    if (line) {
        error = line < 0 ? br_err_set(reterr, BR_E_NOMEM, "reading %s", path) : conf_at_line(&reader, line, reterr);
    }
    return error ? error : conf_check_whole(conf, path, reterr);
}

int conf_parse(const char *path, const void *bytes, size_t len, struct conf **ret_conf, struct br_err *reterr)
{
    struct conf *conf = calloc(1, sizeof(*conf));
    int error = conf ? 0 : br_err_set(reterr, BR_E_NOMEM, "reading %s", path);

    if (!error && path) {
        conf->path = strdup(path);
        error =
            conf->path ? conf_read(conf, path, bytes, len, reterr) : br_err_set(reterr, BR_E_NOMEM, "reading %s", path);
    }
    if (error) {
        conf_free(conf);
        return error;
    }
    *ret_conf = conf;
    return 0;
}

static int conf_read_file(int fd, const char *path, struct br_buf *content, struct br_err *reterr)
{
    ssize_t got = 1;

    while (got > 0 && content->len <= CONF_BYTES_MAX) {
        if (!br_buf_reserve(content, 16384)) {
            return br_err_set(reterr, BR_E_NOMEM, "reading %s", path);
        }
        got = read(fd, content->data + content->len, 16384);
        content->len += got > 0 ? (size_t)got : 0;
    }
    if (got < 0) {
        return br_err_os(reterr, errno, "reading %s", path);
    }
    return got ? br_err_set(reterr, BR_E_CONFIG, "%s is larger than 1 MiB", path) : 0;
}

int conf_load(const char *path, struct conf **ret_conf, struct br_err *reterr)
{
    const char *where = path ? path : CONF_DEFAULT_PATH;
    struct br_buf content = {0};
    int fd = open(where, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        return !path && (errno == ENOENT || errno == ENOTDIR)
                   ? conf_parse(NULL, NULL, 0, ret_conf, reterr)
                   : br_err_os(reterr, errno, "opening the configuration %s", where);
    }
    int error = conf_check_owner(fd, where, reterr);
    error = error ? error : conf_read_file(fd, where, &content, reterr);
    error = error ? error : conf_parse(where, content.data, content.len, ret_conf, reterr);
    br_buf_free(&content);
    close(fd);
    return error;
}

void conf_free(struct conf *conf)
{
    for (size_t i = 0; conf && i < conf->count; i++) {
        free(conf->entries[i].section);
        free(conf->entries[i].name);
        free(conf->entries[i].key);
        free(conf->entries[i].value);
    }
    if (conf) {
        free(conf->entries);
        free(conf->path);
        free(conf);
    }
}

int conf_of(struct cli *cli, const struct conf **ret_conf, struct br_err *reterr)
{
    if (!cli->conf) {
        const char *path = cli_text(cli, "config") ? cli_text(cli, "config") : getenv("BLKREP_CONFIG");
        int error = conf_load(path && *path ? path : NULL, &cli->conf, reterr);
        if (error) {
            return error;
        }
    }
    *ret_conf = cli->conf;
    return 0;
}

const char *conf_get(const struct conf *conf, const char *section, const char *name, const char *key)
{
    const struct conf_entry *entry = conf_find(conf, section, name, key);

    if (entry) {
        return entry->value;
    }
    const struct conf_key *row = conf_key_find(section, key);
    assert(row);
    return row->otherwise;
}

bool conf_has(const struct conf *conf, const char *section, const char *name)
{
    return conf_find(conf, section, name, "") != NULL;
}

const char *conf_next_name(const struct conf *conf, const char *section, const char *after)
{
    bool passed = !after;

    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_entry *entry = &conf->entries[i];
        if (*entry->key || strcmp(entry->section, section)) {
            continue; // only heads count, and each of those is there once
        }
        if (passed) {
            return entry->name;
        }
        passed = !strcmp(entry->name, after);
    }
    return NULL;
}

uint64_t conf_size(const struct conf *conf, const char *section, const char *name, const char *key)
{
    uint64_t bytes = 0;
    bool ok = br_size_parse(conf_get(conf, section, name, key), &bytes);

    assert(ok);
    return bytes;
}

uint64_t conf_duration_ns(const struct conf *conf, const char *section, const char *name, const char *key)
{
    uint64_t ns = 0;
    bool ok = br_duration_parse(conf_get(conf, section, name, key), &ns);

    assert(ok);
    return ns;
}

uint64_t conf_number(const struct conf *conf, const char *section, const char *name, const char *key)
{
    uint64_t number = 0;
    bool ok = conf_decimal_parse(conf_get(conf, section, name, key), &number);

    assert(ok);
    return number;
}

bool conf_flag(const struct conf *conf, const char *section, const char *name, const char *key)
{
    bool flag = false;
    bool ok = conf_flag_parse(conf_get(conf, section, name, key), &flag);

    assert(ok);
    return flag;
}
