// SPDX-License-Identifier: Apache-2.0
//
// Two passes: over the lines for what libinih would do otherwise than said, and for the heads; then libinih over what that left.
#include "engine/base/ini.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/bytes.h"

#define INI_BYTES_MAX   (1024 * 1024)
#define INI_READ_BYTES  16384u
#define INI_LINE_MAX    (INI_MAX_LINE - 2) // libinih cuts a longer one in two
#define INI_SECTION_MAX 49                 // it cuts a longer name (MAX_SECTION in its ini.c)

struct br_ini_reader {
    const char *path;
    br_ini_entry_fn *on_entry;
    void *user;
    struct br_err err;
    int error;
};

// "replica web1" -> "replica", "web1", in @text itself. Blanks at the ends and between are no part of either.
static void br_ini_split(char *text, const char **ret_section, const char **ret_name)
{
    char *section = text + strspn(text, " \t");
    size_t len = strcspn(section, " \t");
    char *name = section + len + strspn(section + len, " \t");
    size_t name_len = strlen(name);

    while (name_len && (name[name_len - 1] == ' ' || name[name_len - 1] == '\t')) {
        name_len--;
    }
    name[name_len] = 0;
    section[len] = 0;
    *ret_section = section;
    *ret_name = name;
}

static int br_ini_tell(struct br_ini_reader *reader, const char *section_text, const char *key, const char *value)
{
    char section[INI_SECTION_MAX + 1];
    struct br_ini_entry entry = {.key = key, .value = value};

    snprintf(section, sizeof(section), "%s", section_text); // longer ones were refused
    br_ini_split(section, &entry.section, &entry.name);
    reader->error = reader->on_entry(reader->user, &entry, &reader->err);
    return reader->error;
}

static int br_ini_on_entry(void *user, const char *section, const char *key, const char *value)
{
    struct br_ini_reader *reader = user;

    return !reader->error && !br_ini_tell(reader, section, key, value); // 0 tells libinih that this line is wrong
}

// One line as libinih is to see it: without the blanks before it, which it takes for the continuation of a value, and without a comment,
// which may be long. A section counts from its head on, so that one without a key is not taken for none.
static int br_ini_clean(struct br_ini_reader *reader, const char *line, size_t len, struct br_buf *clean)
{
    char section[INI_SECTION_MAX + 1];

    while (len && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    if (memchr(line, 0, len)) {
        return br_err_set(&reader->err, BR_E_CONFIG, "a zero byte");
    }
    if (len && (*line == ';' || *line == '#')) {
        len = 0;
    }
    if (len > INI_LINE_MAX) {
        return br_err_set(&reader->err, BR_E_CONFIG,
                          "a line of more than %d bytes; a symbolic link gives a path a shorter name", INI_LINE_MAX);
    }
    const char *close = len && *line == '[' ? memchr(line, ']', len) : NULL;
    size_t section_len = close ? (size_t)(close - line - 1) : 0;
    if (section_len > INI_SECTION_MAX) {
        return br_err_set(&reader->err, BR_E_CONFIG, "a section's name of more than %d characters", INI_SECTION_MAX);
    }
    snprintf(section, sizeof(section), "%.*s", (int)section_len, close ? line + 1 : "");
    br_buf_append(clean, line, len);
    br_buf_u8(clean, '\n');
    return close ? br_ini_tell(reader, section, "", "") : 0;
}

static int br_ini_at(struct br_ini_reader *reader, int line, struct br_err *reterr)
{
    if (!reader->error) {
        reader->error = br_err_set(&reader->err, BR_E_CONFIG, "not `[section name]` or `key = value`");
    }
    br_err_prefix(&reader->err, "%s:%d", reader->path, line);
    if (reterr) {
        *reterr = reader->err;
    }
    return reader->error;
}

int br_ini_parse(const char *path, const void *bytes, size_t len, br_ini_entry_fn *on_entry, void *user,
                 struct br_err *reterr)
{
    struct br_ini_reader reader = {.path = path, .on_entry = on_entry, .user = user};
    struct br_buf clean = {0};
    const char *at = bytes, *end = at + len;
    int line = 0;

    // A byte order mark is no part of the first line.
    at += len >= 3 && !memcmp(at, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < end && !reader.error) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        line++;
        reader.error = br_ini_clean(&reader, at, (size_t)(stop - at), &clean);
        at = stop + (stop < end);
    }
    br_buf_u8(&clean, 0);
    bool failed = br_buf_failed(&clean);
    if (!reader.error) {
        line = failed ? -1 : ini_parse_string((const char *)clean.data, br_ini_on_entry, &reader);
    }
    br_buf_free(&clean);
    if (line < 0) {
        return br_err_set(reterr, BR_E_NOMEM, "reading %s", path);
    }
    return reader.error || line ? br_ini_at(&reader, line, reterr) : 0;
}

// Who may write the configuration decides what runs as root: it must be ours or root's, and nobody else's to write.
static int br_ini_check_owner(int fd, const char *path, struct br_err *reterr)
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

static int br_ini_read(int fd, const char *path, struct br_buf *content, struct br_err *reterr)
{
    ssize_t got = 1;

    while (got > 0 && content->len <= INI_BYTES_MAX) {
        if (!br_buf_reserve(content, INI_READ_BYTES)) {
            return br_err_set(reterr, BR_E_NOMEM, "reading %s", path);
        }
        got = read(fd, content->data + content->len, INI_READ_BYTES);
        content->len += got > 0 ? (size_t)got : 0;
    }
    if (got < 0) {
        return br_err_os(reterr, errno, "reading %s", path);
    }
    return got ? br_err_set(reterr, BR_E_CONFIG, "%s is larger than 1 MiB", path) : 0;
}

int br_ini_load(const char *path, br_ini_entry_fn *on_entry, void *user, struct br_err *reterr)
{
    struct br_buf content = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        return br_err_os(reterr, errno, "opening the configuration %s", path);
    }
    int error = br_ini_check_owner(fd, path, reterr);
    error = error ? error : br_ini_read(fd, path, &content, reterr);
    error = error ? error : br_ini_parse(path, content.data, content.len, on_entry, user, reterr);
    br_buf_free(&content);
    close(fd);
    return error;
}
