// SPDX-License-Identifier: Apache-2.0
#include "engine/base/ini.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BR_INI_BYTES_MAX (1024 * 1024)

struct br_ini_reader {
    br_ini_entry_fn *on_entry;
    void *user;
    struct br_err err;
    int error;
};

// "replica web1" -> "replica", "web1": the blank between becomes the end of the first.
static void br_ini_split(char *text, const char **ret_section, const char **ret_name)
{
    char *blank = strchr(text, ' ');

    *ret_section = text;
    *ret_name = "";
    if (blank) {
        *blank = 0;
        *ret_name = blank + 1 + strspn(blank + 1, " ");
    }
}

static int br_ini_on_line(void *user, const char *section_text, const char *key, const char *value)
{
    struct br_ini_reader *reader = user;
    struct br_ini_entry entry = {.key = key, .value = value};

    if (reader->error) {
        return 0;
    }
    char *section = strdup(section_text);
    if (!section) {
        reader->error = br_err_set(&reader->err, BR_E_NOMEM, "reading the configuration");
        return 0;
    }
    br_ini_split(section, &entry.section, &entry.name);
    reader->error = reader->on_entry(reader->user, &entry, &reader->err);
    free(section);
    return !reader->error; // 0 tells inih that this line is wrong
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
    if (st.st_size > BR_INI_BYTES_MAX) {
        return br_err_set(reterr, BR_E_CONFIG, "%s is larger than 1 MiB", path);
    }
    return 0;
}

static int br_ini_read(FILE *file, const char *path, struct br_ini_reader *reader, struct br_err *reterr)
{
    int line = ini_parse_file(file, br_ini_on_line, reader);

    if (line < 0) {
        return br_err_set(reterr, BR_E_NOMEM, "reading %s", path);
    }
    if (line && !reader->error) {
        return br_err_set(reterr, BR_E_CONFIG, "%s:%d: not `[section name]` or `key = value`", path, line);
    }
    if (reader->error) {
        br_err_prefix(&reader->err, "%s:%d", path, line);
        if (reterr) {
            *reterr = reader->err;
        }
    }
    return reader->error;
}

int br_ini_load(const char *path, br_ini_entry_fn *on_entry, void *user, struct br_err *reterr)
{
    struct br_ini_reader reader = {.on_entry = on_entry, .user = user};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return br_err_os(reterr, errno, "opening the configuration %s", path);
    }
    int error = br_ini_check_owner(fd, path, reterr);
    FILE *file = error ? NULL : fdopen(fd, "re");
    if (!file) {
        error = error ? error : br_err_os(reterr, errno, "opening %s", path);
        close(fd);
        return error;
    }
    error = br_ini_read(file, path, &reader, reterr);
    fclose(file);
    return error;
}
