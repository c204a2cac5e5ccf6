// SPDX-License-Identifier: Apache-2.0
//
// Gives a volume's record (tools/volume/record.h) the mark of a version that was not read through its stack: for volumes too large to be
// read once on an emulated processor. It is as true as what the test did: the device must hold that version when the tracker is at the mark.
//
//   mark STACK.JSON CONSUMER VERSION era          as of the era that the record has seen last
//   mark STACK.JSON CONSUMER VERSION SNAPSHOT     as of the user's snapshot of that number, which becomes the mark's
//
// CONSUMER is the replica's uuid, VERSION the generation's id. Exit status 0, or 3 with what is wrong.

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define USE_MARK 2 // VOLUME_MARK

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "mark: %s: %s\n", what, why);
    exit(3);
}

static void give_snapshot(json_t *record, json_int_t number)
{
    json_t *snapshot;
    size_t i;

    json_array_foreach(json_object_get(record, "snapshots"), i, snapshot)
    {
        if (json_integer_value(json_object_get(snapshot, "number")) == number) {
            json_object_set_new(snapshot, "use", json_integer(USE_MARK));
            json_object_set_new(snapshot, "name", json_string(""));
            return;
        }
    }
    fail("the record", "it has no snapshot of that number");
}

static void sign(json_t *record)
{
    char sum[33];
    char *text;

    json_object_del(record, "sum");
    text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) {
        fail("the record", "no memory");
    }
    const XXH128_hash_t hash = XXH3_128bits(text, strlen(text));
    snprintf(sum, sizeof(sum), "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
    json_object_set_new(record, "sum", json_string(sum));
    free(text);
}

int main(int argc, char **argv)
{
    json_error_t error;
    json_t *record = argc == 5 ? json_load_file(argv[1], 0, &error) : NULL;

    if (!record) {
        fail(argc == 5 ? argv[1] : "usage", argc == 5 ? error.text : "see the head of tests/vm/lib/mark.c");
    }
    const json_int_t snapshot = strcmp(argv[4], "era") ? atoll(argv[4]) : 0;
    if (snapshot) {
        give_snapshot(record, snapshot);
    }
    json_t *mark = json_pack("{s:s,s:s,s:O,s:O,s:I,s:I}", "consumer", argv[2], "version", argv[3], "chain",
                             json_object_get(record, "chain"), "era", json_object_get(record, "era_seen"), "snapshot",
                             snapshot, "taken_unix_ns", (json_int_t)1);
    if (!mark || json_array_append_new(json_object_get(record, "marks"), mark)) {
        fail(argv[1], "it is no record of a volume");
    }
    sign(record);
    if (json_dump_file(record, argv[1], JSON_INDENT(1) | JSON_PRESERVE_ORDER)) {
        fail(argv[1], "it can't be written");
    }
    json_decref(record);
    return 0;
}
