// SPDX-License-Identifier: Apache-2.0
#include "tools/files/word.h"

#include <stdio.h>
#include <string.h>

int files_word(const char *word, char left[PATH_MAX], char path[PATH_MAX], struct br_err *reterr)
{
    const char *at = strchr(word, '@');
    const char *colon = at ? strstr(at, ":/") : NULL;
    size_t len = colon ? (size_t)(colon - word) : strlen(word);

    if (len >= PATH_MAX || (colon && strlen(colon + 1) >= PATH_MAX)) {
        return br_err_set(reterr, BR_E_USAGE, "a path that is too long");
    }
    snprintf(left, PATH_MAX, "%.*s", (int)len, word);
    // One slash is as good as several, and one at the end says nothing.
    size_t used = 0;
    for (const char *from = colon ? colon + 1 : "/"; *from; from++) {
        if (*from != '/' || !used || path[used - 1] != '/') {
            path[used++] = *from;
        }
    }
    used -= used > 1 && path[used - 1] == '/';
    path[used] = 0;
    return 0;
}
