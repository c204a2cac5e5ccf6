// SPDX-License-Identifier: Apache-2.0
// Purpose: a main() for fuzz targets without libFuzzer: every input that was ever interesting runs in `make check`.
// Method: feeds LLVMFuzzerTestOneInput the empty input, then each file of the folders and files given as arguments,
//         sorted by name, and prints one TAP line per input. A crash or an abort is the failure; the input that caused
//         it is the last one announced on stderr.
// Not promised: finding anything new; that is `make fuzz`.

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static unsigned replayed;

/* The copy has exactly the input's size, so that a sanitizer sees a read past its end. */
static void replay_bytes(const char *name, const uint8_t *data, size_t len_bytes)
{
    fprintf(stderr, "# replay %s (%zu bytes)\n", name, len_bytes);
    uint8_t *copy = malloc(len_bytes ? len_bytes : 1);
    if (!copy)
        abort();
    if (len_bytes)
        memcpy(copy, data, len_bytes);
    LLVMFuzzerTestOneInput(copy, len_bytes);
    free(copy);
    printf("ok %u - %s\n", ++replayed, name);
    fflush(stdout);
}

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return -1;
    }
    size_t used = 0, room = 64 * 1024;
    uint8_t *buf = malloc(room);
    while (buf) {
        used += fread(buf + used, 1, room - used, f);
        if (used < room)
            break;
        uint8_t *bigger = realloc(buf, room *= 2);
        if (!bigger)
            free(buf);
        buf = bigger;
    }
    int failed = !buf || ferror(f) ? -1 : 0;
    fclose(f);
    if (failed)
        perror(path);
    else
        replay_bytes(path, buf, used);
    free(buf);
    return failed;
}

static int replay_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return -1;
    }
    if (!S_ISDIR(st.st_mode))
        return replay_file(path);
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, NULL, alphasort), rc = n < 0 ? -1 : 0;
    for (int i = 0; i < n; i++) {
        char *child = NULL;
        if (entries[i]->d_name[0] != '.') {
            if (asprintf(&child, "%s/%s", path, entries[i]->d_name) < 0 || replay_file(child) != 0)
                rc = -1;
            free(child);
        }
        free(entries[i]);
    }
    free(entries);
    return rc;
}

int main(int argc, char **argv)
{
    int rc = 0;
    replay_bytes("the empty input", NULL, 0);
    for (int i = 1; i < argc; i++)
        if (replay_path(argv[i]) != 0)
            rc = 1;
    printf("1..%u\n", replayed);
    return rc;
}
