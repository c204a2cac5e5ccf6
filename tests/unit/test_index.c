// SPDX-License-Identifier: Apache-2.0
//
// engine/repo/index.h: what was put in is found, also by the next process; what is damaged or another's is made anew.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/repo/index.h"
#include "tests/lib/t_env.h"

static char folder[300];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "%s/index-XXXXXX", t_folder());
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    char path[400];
    (void)state;
    snprintf(path, sizeof(path), "%s/data.mdb", folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/lock.mdb", folder);
    unlink(path);
    return rmdir(folder);
}

static struct br_index *open_index(uint8_t whose)
{
    struct br_uuid repository;
    struct br_index *index = NULL;
    struct br_err err = {0};
    memset(repository.bytes, whose, sizeof(repository.bytes));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    if (br_index_open(fd, &repository, &index, &err)) {
        fail_msg("%s", err.text);
    }
    return index;
}

static void expect_counts(struct br_index *index, uint64_t packs, uint64_t chunks)
{
    uint64_t got_packs, got_chunks;
    assert_int_equal(br_index_counts(index, &got_packs, &got_chunks, NULL), 0);
    assert_int_equal(got_packs, packs);
    assert_int_equal(got_chunks, chunks);
}

static struct br_chunk_id id_of(unsigned n)
{
    struct br_chunk_id id = {{0}};
    br_put_u32(id.bytes, n * 2654435761u);
    id.bytes[31] = (uint8_t)n;
    return id;
}

// Frames of two chunks of 100 + n bytes, ids from @first.
static void add(struct br_index *index, uint8_t salt, unsigned first, unsigned frames, enum br_chunk_kind kind,
                bool proven)
{
    struct br_directory directory = {0};
    struct br_index_pack pack = {.epoch = 7, .bytes = 1000, .proven = proven};
    memset(pack.salt, salt, sizeof(pack.salt));
    memset(pack.writer.bytes, 0x44, sizeof(pack.writer.bytes));
    for (unsigned f = 0; f < frames; f++) {
        struct br_frame_entry frame = {.codec = BR_FRAME_ZSTD, .chunks = 2, .sealed_bytes = 50 + f};
        for (unsigned c = 0; c < 2; c++) {
            struct br_chunk_entry chunk = {.kind = kind, .len_bytes = 100 + c, .id = id_of(first + 2 * f + c)};
            if (kind == BR_CHUNK_OVERLAY) {
                chunk.base = id_of(9999);
            }
            frame.raw_bytes += chunk.len_bytes;
            assert_int_equal(br_directory_add_chunk(&directory, &chunk, NULL), 0);
        }
        assert_int_equal(br_directory_add_frame(&directory, &frame, NULL), 0);
    }
    assert_int_equal(br_index_add(index, &pack, &directory, NULL), 0);
    br_directory_free(&directory);
}

static void what_is_in_a_pack_is_found_also_by_the_next_process(void **state)
{
    (void)state;
    struct br_index *index = open_index(1);
    struct br_index_chunk chunk;
    struct br_index_frame frame;
    struct br_index_pack pack;
    struct br_chunk_id id = id_of(5);
    uint8_t salt[BR_SALT_BYTES];
    uint32_t number;
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 0);
    add(index, 0xaa, 0, 1, BR_CHUNK_BLOCK, false);
    add(index, 0xbb, 2, 3, BR_CHUNK_OVERLAY, true);
    for (unsigned round = 0; round < 2; round++) {
        expect_counts(index, 2, 8);
        assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
        assert_int_equal(chunk.kind, BR_CHUNK_OVERLAY);
        assert_int_equal(chunk.frame, 1);
        assert_int_equal(chunk.at, 100);
        assert_int_equal(chunk.len_bytes, 101);
        assert_true(chunk.proven);
        struct br_chunk_id base = id_of(9999);
        assert_memory_equal(&chunk.base, &base, sizeof(base));
        assert_int_equal(br_index_pack_of(index, chunk.pack, &pack, NULL), 0);
        memset(salt, 0xbb, sizeof(salt));
        assert_memory_equal(pack.salt, salt, sizeof(salt));
        assert_true(pack.epoch == 7 && pack.bytes == 1000 && pack.writer.bytes[3] == 0x44);
        assert_int_equal(br_index_has_pack(index, salt, &number, NULL), 1);
        assert_int_equal(number, chunk.pack);
        assert_int_equal(br_index_frame_of(index, chunk.pack, 1, &frame, NULL), 0);
        assert_int_equal(frame.offset_bytes, BR_PACK_FRAMES_AT + 50 + BR_SEAL_TAG_BYTES);
        assert_true(frame.sealed_bytes == 51 && frame.raw_bytes == 201 && frame.codec == BR_FRAME_ZSTD);
        assert_true(br_index_frame_of(index, chunk.pack, 3, &frame, NULL) < 0);
        br_index_close(index);
        index = open_index(1);
    }
    struct br_chunk_id first = id_of(1);
    assert_int_equal(br_index_find(index, &first, &chunk, NULL), 1);
    assert_false(chunk.proven);
    assert_int_equal(br_index_set_proven(index, chunk.pack, true, NULL), 0);
    assert_int_equal(br_index_find(index, &first, &chunk, NULL), 1);
    assert_true(chunk.proven);
    add(index, 0xbb, 100, 1, BR_CHUNK_BLOCK, true); // is known
    expect_counts(index, 2, 8);
    br_index_close(index);
}

static void a_block_is_found_before_an_overlay_and_what_is_left_when_a_pack_goes(void **state)
{
    (void)state;
    struct br_index *index = open_index(2);
    struct br_index_chunk chunk;
    struct br_chunk_id id = id_of(0), gone = id_of(5);
    expect_counts(index, 0, 0); // another repository's index
    add(index, 1, 0, 1, BR_CHUNK_OVERLAY, true);
    add(index, 2, 0, 1, BR_CHUNK_BLOCK, true);
    add(index, 3, 0, 3, BR_CHUNK_BLOCK, true);
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    assert_true(chunk.kind == BR_CHUNK_BLOCK && chunk.pack == 3);
    assert_int_equal(br_index_find(index, &gone, &chunk, NULL), 1);
    assert_int_equal(br_index_set_proven(index, 3, false, NULL), 0);
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    assert_true(chunk.pack == 2 && chunk.proven);
    assert_int_equal(br_index_drop(index, (const uint32_t[]){2, 7}, 2, NULL), 0);
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    assert_true(chunk.kind == BR_CHUNK_BLOCK && chunk.pack == 3 && !chunk.proven); // the overlay's base is nowhere
    add(index, 4, 9999, 1, BR_CHUNK_BLOCK, true);
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    assert_true(chunk.kind == BR_CHUNK_OVERLAY && chunk.pack == 1 && chunk.proven);
    assert_int_equal(br_index_find_block(index, &id, 0, &chunk, NULL), 1);
    assert_true(chunk.kind == BR_CHUNK_BLOCK && chunk.pack == 3);
    uint64_t losses, later;
    assert_int_equal(br_index_losses(index, &losses, NULL), 0);
    assert_int_equal(br_index_drop(index, (const uint32_t[]){3}, 1, NULL), 0);
    assert_int_equal(br_index_losses(index, &later, NULL), 0);
    assert_int_equal(later, losses + 1);
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    assert_true(chunk.kind == BR_CHUNK_OVERLAY && chunk.pack == 1);
    assert_int_equal(br_index_find(index, &gone, &chunk, NULL), 0);
    assert_int_equal(br_index_find_block(index, &id, 0, &chunk, NULL), 0);
    expect_counts(index, 2, 4);
    assert_int_equal(br_index_empty(index, NULL), 0);
    expect_counts(index, 0, 0);
    assert_int_equal(br_index_losses(index, &later, NULL), 0);
    assert_int_equal(later, losses + 2);
    br_index_close(index);
}

static uint32_t number_of(struct br_index *index, uint8_t salt_byte)
{
    uint8_t salt[BR_SALT_BYTES];
    uint32_t number = 0;

    memset(salt, salt_byte, sizeof(salt));
    assert_int_equal(br_index_has_pack(index, salt, &number, NULL), 1);
    return number;
}

// What is doomed says so, and is found behind what is not, but before what is not proven.
static void doomed_packs_are_known_and_come_later(void **state)
{
    (void)state;
    struct br_index *index = open_index(2);
    struct br_index_chunk chunk;
    struct br_chunk_id id = id_of(0);
    uint8_t salts[2][BR_SALT_BYTES];
    memset(salts[0], 3, BR_SALT_BYTES);
    memset(salts[1], 2, BR_SALT_BYTES);
    assert_int_equal(br_index_avoid(index, (const uint8_t(*)[BR_SALT_BYTES])salts, 2, NULL), 0); // before they come
    add(index, 1, 0, 1, BR_CHUNK_BLOCK, false);
    add(index, 2, 0, 1, BR_CHUNK_BLOCK, true);
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    assert_true(chunk.pack == number_of(index, 2) && chunk.doomed && chunk.proven);
    add(index, 4, 0, 1, BR_CHUNK_BLOCK, true);
    add(index, 3, 0, 1, BR_CHUNK_BLOCK, true);
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    assert_true(chunk.pack == number_of(index, 4) && !chunk.doomed);
    assert_true(br_index_avoids(index, salts[0]) && br_index_avoid_count(index) == 2);
    br_index_avoid_none(index);
    assert_false(br_index_avoids(index, salts[0]));
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    assert_true(chunk.pack == number_of(index, 3) && !chunk.doomed);
    br_index_close(index);
}

// A number is never given again: another process may be forgetting, in steps, what had it.
static void no_number_comes_twice(void **state)
{
    (void)state;
    struct br_index *index = open_index(3);
    uint32_t first, second, third;
    add(index, 1, 0, 5, BR_CHUNK_BLOCK, true);
    first = number_of(index, 1);
    add(index, 1, 0, 5, BR_CHUNK_BLOCK, true); // known
    assert_int_equal(br_index_drop(index, &first, 1, NULL), 0);
    add(index, 2, 0, 5, BR_CHUNK_BLOCK, true);
    second = number_of(index, 2);
    assert_int_equal(second, first + 1);
    assert_int_equal(br_index_drop(index, &second, 1, NULL), 0);
    br_index_close(index);
    index = open_index(3);
    assert_int_equal(br_index_empty(index, NULL), 0);
    add(index, 3, 0, 5, BR_CHUNK_BLOCK, true);
    third = number_of(index, 3);
    assert_int_equal(third, second + 1);
    br_index_close(index);
}

static int count_pack(void *ctx, const struct br_index_pack *pack)
{
    unsigned *seen = ctx;
    return ++*seen == pack->number ? 0 : 99;
}

// Every chunk in two to four packs of six, of which some go: what the others have is found there, and nothing else is.
static void what_other_packs_have_stays_when_some_go(void **state)
{
    (void)state;
    enum { CHUNKS = 600, PACKS = 6 };
    struct br_index *index = open_index(1);
    struct br_index_chunk chunk;
    uint32_t go[] = {1, 2, 3, 5};
    for (unsigned p = 0; p < PACKS; p++) {
        add(index, (uint8_t)(0x10 + p), p * CHUNKS / 12, CHUNKS / 4, p % 2 ? BR_CHUNK_BLOCK : BR_CHUNK_OVERLAY, true);
    }
    assert_int_equal(br_index_drop(index, go, BR_ARRAY_LEN(go), NULL), 0);
    expect_counts(index, 2, CHUNKS);
    for (unsigned n = 0; n < 2 * CHUNKS; n++) {
        struct br_chunk_id id = id_of(n);
        bool there = false;
        for (unsigned p = 3; p < PACKS; p += 2) { // numbers 4 and 6
            there = there || (n >= p * CHUNKS / 12 && n < p * CHUNKS / 12 + CHUNKS / 2);
        }
        assert_int_equal(br_index_find(index, &id, &chunk, NULL), there);
        assert_true(!there || chunk.pack == 4 || chunk.pack == 6);
    }
    br_index_close(index);
}

#define LARGE_FRAMES 15000u // two chunks each: several transactions

// A child that forgets a pack, and is killed after a while.
static void drop_and_be_killed(uint32_t number, unsigned after_us)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        struct br_index *index = open_index(1);
        usleep(1000);
        _exit(br_index_drop(index, &number, 1, NULL) ? 1 : 0);
    }
    usleep(after_us);
    kill(child, SIGKILL);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || !WEXITSTATUS(status));
}

struct copies {
    uint32_t kept, dropped;
    bool in_kept;
};

static int any_copy(void *ctx, const struct br_index_chunk *chunk)
{
    struct copies *copies = ctx;

    assert_true(chunk->pack == copies->kept || chunk->pack == copies->dropped);
    copies->in_kept = copies->in_kept || chunk->pack == copies->kept;
    return 0;
}

// Wherever it is cut: what it began to forget is not known by its salt, all of the other pack is there, and forgetting it again ends it.
static void a_drop_that_is_cut_is_gone_on_with(void **state)
{
    (void)state;
    unsigned partly = 0;
    for (unsigned round = 0; round < 400 && partly < 3; round++) {
        struct br_index *index = open_index(1);
        uint64_t packs, chunks;
        uint32_t both[2], number;
        assert_int_equal(br_index_empty(index, NULL), 0);
        add(index, 0xa1, 0, 50, BR_CHUNK_BLOCK, true);
        add(index, 0xb2, 50, LARGE_FRAMES, BR_CHUNK_BLOCK, true); // half of the first one's ids, too
        both[0] = number_of(index, 0xa1);
        both[1] = number_of(index, 0xb2);
        br_index_close(index);
        drop_and_be_killed(both[1], round % 200 * 500);
        index = open_index(1);
        assert_int_equal(br_index_counts(index, &packs, &chunks, NULL), 0);
        uint8_t salt[BR_SALT_BYTES];
        memset(salt, 0xb2, sizeof(salt));
        int known = br_index_has_pack(index, salt, &number, NULL);
        assert_true(known == 1 ? chunks == 100 + 2 * LARGE_FRAMES : chunks >= 100);
        partly += packs == 2 && chunks > 100 && chunks < 100 + 2 * LARGE_FRAMES;
        for (unsigned n = 0; n < 100; n++) {
            struct br_chunk_id id = id_of(n);
            struct copies copies = {.kept = both[0], .dropped = both[1]};
            assert_int_equal(br_index_each_copy(index, &id, any_copy, &copies, NULL), 0);
            assert_true(copies.in_kept);
        }
        assert_int_equal(br_index_drop(index, both + 1, 1, NULL), 0);
        expect_counts(index, 1, 100);
        assert_int_equal(br_index_drop(index, both, 1, NULL), 0);
        expect_counts(index, 0, 0);
        br_index_close(index);
    }
    assert_true(partly >= 1);
}

static void packs_are_numbered_and_listed_in_order(void **state)
{
    (void)state;
    struct br_index *index = open_index(3);
    unsigned seen = 0;
    for (unsigned p = 0; p < 300; p++) {
        struct br_directory none = {0};
        struct br_index_pack pack = {.bytes = p};
        br_put_u32(pack.salt, p);
        assert_int_equal(br_index_add(index, &pack, &none, NULL), 0);
    }
    assert_int_equal(br_index_each_pack(index, count_pack, &seen, NULL), 0);
    assert_int_equal(seen, 300);
    br_index_close(index);
}

static void a_damaged_index_is_made_anew(void **state)
{
    (void)state;
    char path[400];
    struct br_index *index = open_index(4);
    add(index, 1, 0, 1, BR_CHUNK_BLOCK, true);
    br_index_close(index);
    snprintf(path, sizeof(path), "%s/data.mdb", folder);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    uint8_t junk[8192];
    memset(junk, 0x5a, sizeof(junk));
    assert_int_equal(pwrite(fd, junk, sizeof(junk), 0), sizeof(junk));
    close(fd);
    index = open_index(4);
    expect_counts(index, 0, 0);
    br_index_close(index);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "short", 5), 5);
    close(fd);
    index = open_index(4);
    expect_counts(index, 0, 0);
    add(index, 1, 0, 1, BR_CHUNK_BLOCK, true);
    expect_counts(index, 1, 2);
    br_index_close(index);
}

static void what_is_noted_is_kept_by_letter_and_id(void **state)
{
    (void)state;
    struct br_index *index = open_index(6);
    struct br_uuid one = {{1}}, two = {{2}};
    uint64_t number, losses, other;
    assert_int_equal(br_index_noted(index, 'a', &one, &number, NULL), 0);
    assert_int_equal(number, 0);
    assert_int_equal(br_index_note(index, 'a', &one, 77, NULL), 0);
    assert_int_equal(br_index_losses(index, &losses, NULL), 0);
    assert_true(losses > 0);
    br_index_close(index);
    index = open_index(6);
    assert_int_equal(br_index_noted(index, 'a', &one, &number, NULL), 0);
    assert_int_equal(number, 77);
    assert_int_equal(br_index_noted(index, 'b', &one, &number, NULL), 0);
    assert_int_equal(number, 0);
    assert_int_equal(br_index_noted(index, 'a', &two, &number, NULL), 0);
    assert_int_equal(number, 0);
    assert_int_equal(br_index_losses(index, &other, NULL), 0);
    assert_int_equal(other, losses);
    br_index_close(index);
    index = open_index(7); // made anew
    assert_int_equal(br_index_losses(index, &other, NULL), 0);
    assert_true(other != losses);
    br_index_close(index);
}

static void an_index_that_was_cut_is_made_anew(void **state)
{
    (void)state;
    char path[400];
    struct br_index *index = open_index(8);
    for (unsigned p = 0; p < 20; p++) {
        add(index, (uint8_t)p, 100 * p, 20, BR_CHUNK_BLOCK, true);
    }
    br_index_close(index);
    snprintf(path, sizeof(path), "%s/data.mdb", folder);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 8192), 0);
    index = open_index(8);
    expect_counts(index, 0, 0);
    br_index_close(index);
}

// Every byte of the file that holds entries, one after the other: what is said of a chunk is true, or nothing is said.
static void a_flipped_bit_never_puts_a_chunk_where_it_is_not(void **state)
{
    (void)state;
    char path[400];
    struct br_index *index = open_index(5);
    struct br_index_chunk chunk;
    struct br_chunk_id id = id_of(2);
    add(index, 1, 0, 4, BR_CHUNK_BLOCK, true);
    assert_int_equal(br_index_find(index, &id, &chunk, NULL), 1);
    const struct br_index_chunk right = chunk;
    uint8_t value[17] = {BR_CHUNK_BLOCK};
    br_put_u32(value + 1, right.pack);
    br_put_u32(value + 5, right.frame);
    br_put_u32(value + 9, right.at);
    br_put_u32(value + 13, right.len_bytes);
    br_index_close(index);
    snprintf(path, sizeof(path), "%s/data.mdb", folder);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    BR_AUTO_FREE uint8_t *all = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, all, (size_t)st.st_size, 0), st.st_size);
    unsigned places = 0;
    for (off_t at = 0; at + (off_t)sizeof(value) <= st.st_size; at++) {
        if (memcmp(all + at, value, sizeof(value)) != 0) {
            continue;
        }
        places++;
        for (unsigned bit = 0; bit < 8 * sizeof(value); bit++) {
            uint8_t wrong = all[at + bit / 8] ^ (uint8_t)(1u << bit % 8);
            assert_int_equal(pwrite(fd, &wrong, 1, at + (off_t)(bit / 8)), 1);
            index = open_index(5);
            assert_int_equal(br_index_find(index, &id, &chunk, NULL), 0);
            br_index_close(index);
            assert_int_equal(pwrite(fd, all + at + bit / 8, 1, at + (off_t)(bit / 8)), 1);
        }
    }
    close(fd);
    assert_true(places > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_a_pack_is_found_also_by_the_next_process),
        cmocka_unit_test(a_block_is_found_before_an_overlay_and_what_is_left_when_a_pack_goes),
        cmocka_unit_test(doomed_packs_are_known_and_come_later),
        cmocka_unit_test(no_number_comes_twice),
        cmocka_unit_test(what_other_packs_have_stays_when_some_go),
        cmocka_unit_test(a_drop_that_is_cut_is_gone_on_with),
        cmocka_unit_test(packs_are_numbered_and_listed_in_order),
        cmocka_unit_test(a_damaged_index_is_made_anew),
        cmocka_unit_test(what_is_noted_is_kept_by_letter_and_id),
        cmocka_unit_test(an_index_that_was_cut_is_made_anew),
        cmocka_unit_test(a_flipped_bit_never_puts_a_chunk_where_it_is_not),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
