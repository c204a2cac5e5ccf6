// SPDX-License-Identifier: Apache-2.0
#include "kmod-compat/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool kmc_path(const struct kmc_source *source, const char *path, char full[KMC_PATH_BYTES])
{
    int len = snprintf(full, KMC_PATH_BYTES, "%s%s", source->root, path);

    return len > 0 && len < KMC_PATH_BYTES;
}

// Regular files only: a fifo in a made-up machine, or a device at an odd name, is not waited for.
static int kmc_open(const struct kmc_source *source, const char *path)
{
    char full[KMC_PATH_BYTES];
    struct stat st;

    if (!kmc_path(source, path, full)) {
        return -ENAMETOOLONG;
    }
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    return fd;
}

// Reads until the end or @size bytes.
static ssize_t kmc_fill(int fd, char *bytes, size_t size)
{
    size_t have = 0;

    while (have < size) {
        ssize_t got = read(fd, bytes + have, size - have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        if (!got) {
            break;
        }
        have += (size_t)got;
    }
    return (ssize_t)have;
}

static bool kmc_is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || !c;
}

int kmc_read(const struct kmc_source *source, const char *path, char *text, size_t text_size)
{
    text[0] = 0;
    int fd = kmc_open(source, path);
    if (fd < 0) {
        return fd;
    }
    ssize_t got = kmc_fill(fd, text, text_size - 1);
    close(fd);
    if (got < 0) {
        text[0] = 0;
        return (int)got;
    }
    size_t len = (size_t)got;
    while (len && kmc_is_blank(text[len - 1])) {
        len--;
    }
    text[len] = 0;
    size_t lead = strspn(text, " \t\n");
    memmove(text, text + lead, len - lead + 1);
    return (int)(len - lead);
}

char *kmc_read_all(const struct kmc_source *source, const char *path, size_t max_bytes)
{
    size_t size = 0;
    size_t have = 0;
    char *bytes = NULL;
    ssize_t got = 1;
    int fd = kmc_open(source, path);

    if (fd < 0) {
        return NULL;
    }
    while (got > 0 && have < max_bytes) {
        size = size ? 2 * size : 4096;
        size = size < max_bytes ? size : max_bytes;
        char *more = realloc(bytes, size + 1);
        if (!more) {
            got = -ENOMEM;
            break;
        }
        bytes = more;
        got = kmc_fill(fd, bytes + have, size - have);
        have += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (got < 0 || !bytes) {
        free(bytes);
        return NULL;
    }
    bytes[have] = 0;
    return bytes;
}

bool kmc_exists(const struct kmc_source *source, const char *path)
{
    char full[KMC_PATH_BYTES];

    // lstat() of a made-up machine's links, which would lead out of it; they count as what they are
    return kmc_path(source, path, full) && !faccessat(AT_FDCWD, full, F_OK, source->root[0] ? AT_SYMLINK_NOFOLLOW : 0);
}

bool kmc_link(const struct kmc_source *source, const char *path, char *text, size_t text_size)
{
    char full[KMC_PATH_BYTES];

    text[0] = 0;
    if (!kmc_path(source, path, full)) {
        return false;
    }
    ssize_t len = readlink(full, text, text_size);
    bool fits = len > 0 && (size_t)len < text_size;
    text[fits ? len : 0] = 0;
    return fits;
}

bool kmc_link_leaf(const struct kmc_source *source, const char *path, char *leaf, size_t leaf_size)
{
    char text[KMC_PATH_BYTES];

    leaf[0] = 0;
    if (!kmc_link(source, path, text, sizeof(text))) {
        return false;
    }
    const char *slash = strrchr(text, '/');
    const char *last = slash ? slash + 1 : text;
    if (strlen(last) >= leaf_size) {
        return false;
    }
    memcpy(leaf, last, strlen(last) + 1);
    return leaf[0] != 0;
}

static int kmc_by_version(const void *a, const void *b)
{
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

// Makes room for one more pointer, at counts that are powers of two.
static bool kmc_grow(char ***names, size_t count)
{
    if (count & (count - 1)) {
        return true;
    }
    char **more = realloc(*names, (count ? 2 * count : 1) * sizeof(**names));
    if (!more) {
        return false;
    }
    *names = more;
    return true;
}

size_t kmc_list(const struct kmc_source *source, const char *path, char ***ret_names)
{
    char full[KMC_PATH_BYTES];
    char **names = NULL;
    size_t count = 0;
    struct dirent *entry;
    DIR *dir = kmc_path(source, path, full) ? opendir(full) : NULL;

    *ret_names = NULL;
    while (dir && (entry = readdir(dir))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) {
            continue;
        }
        char *name = strdup(entry->d_name);
        if (!name || !kmc_grow(&names, count)) {
            free(name);
            kmc_list_free(names, count);
            names = NULL;
            count = 0;
            break;
        }
        names[count++] = name;
    }
    if (dir) {
        closedir(dir);
    }
    if (count) {
        qsort(names, count, sizeof(*names), kmc_by_version);
    }
    *ret_names = names;
    return count;
}

void kmc_list_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
}

bool kmc_program(const struct kmc_source *source, const char *name)
{
    static const char *const folders[] = {"/usr/sbin", "/usr/bin",        "/sbin",
                                          "/bin",      "/usr/local/sbin", "/usr/local/bin"};
    char path[256];

    for (size_t i = 0; i < KMC_ARRAY_LEN(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", folders[i], name);
        if (kmc_exists(source, path)) {
            return true;
        }
    }
    return false;
}

bool kmc_has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) {
        if ((at == text || kmc_is_blank(at[-1])) && kmc_is_blank(at[len])) {
            return true;
        }
    }
    return false;
}
