// SPDX-License-Identifier: Apache-2.0
//
// Prints one value of the last JSON object in a file that is asked for, as `jq -r` would: a string without its quotes, null when there is none.
// On an emulated processor jq takes a third of a second to begin, this a tenth of that; the tests of the bed ask hundreds of times.
//
//   json_field FILE WHERE KEY       json_field out type=volume,volume=data snapshots[0].path
//
// WHERE is NAME=TEXT[,NAME=TEXT...], all of which the object must have; empty for any object. KEY is names and [indices], joined by dots.
// Exit status 0; 1 when no object is as asked for; 3 with what is wrong when the file holds something else than JSON or KEY can't be read.

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "json_field: %s: %s\n", what, why);
    exit(3);
}

static bool is_as_asked(const json_t *object, const char *where)
{
    const char *equals, *end, *have;
    char name[64];

    for (; *where; where = *end ? end + 1 : end) {
        end = where + strcspn(where, ",");
        equals = memchr(where, '=', (size_t)(end - where));
        if (!equals || (size_t)(equals - where) >= sizeof(name))
            fail(where, "NAME=TEXT[,NAME=TEXT...] is wanted");
        memcpy(name, where, (size_t)(equals - where));
        name[equals - where] = '\0';
        have = json_string_value(json_object_get(object, name));
        equals++;
        if (!have || strlen(have) != (size_t)(end - equals) || memcmp(have, equals, (size_t)(end - equals)) != 0)
            return false;
    }
    return true;
}

// what KEY names in the value, which may be nothing
static const json_t *look_up(const json_t *value, const char *key)
{
    char name[64], *end;
    size_t len;

    while (*key) {
        if (*key == '[') {
            value = json_array_get(value, strtoul(key + 1, &end, 10));
            if (end == key + 1 || *end != ']')
                fail(key, "an index is [N]");
            key = end + 1;
        } else {
            len = strcspn(key, ".[");
            if (len == 0 || len >= sizeof(name) || strcspn(key, " |()'\"") < len)
                fail(key, "a name is wanted");
            memcpy(name, key, len);
            name[len] = '\0';
            value = json_object_get(value, name);
            key += len;
        }
        key += *key == '.';
    }
    return value;
}

int main(int argc, char **argv)
{
    json_t *found = NULL, *object;
    const json_t *value;
    json_error_t err;
    FILE *file;
    int c;

    if (argc != 4)
        fail("usage", "json_field FILE WHERE KEY");
    file = fopen(argv[1], "r");
    if (!file)
        fail(argv[1], "can't be opened");
    while ((c = fgetc(file)) != EOF) {
        if (c == '\n' || c == ' ')
            continue;
        ungetc(c, file);
        object = json_loadf(file, JSON_DISABLE_EOF_CHECK, &err);
        if (!object)
            fail(argv[1], err.text);
        if (is_as_asked(object, argv[2])) {
            json_decref(found);
            found = object;
        } else {
            json_decref(object);
        }
    }
    fclose(file);
    if (!found)
        return 1;
    value = look_up(found, argv[3]);
    if (!value)
        puts("null");
    else if (json_is_string(value))
        puts(json_string_value(value));
    else
        json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT), putchar('\n');
    json_decref(found);
    return 0;
}
