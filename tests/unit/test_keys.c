// SPDX-License-Identifier: Apache-2.0
//
// Identity keys, fingerprints, base 32 and the files that hold trust.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/net/base32.h"
#include "engine/net/keys.h"
#include "engine/net/trust_file.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_net.h"

static void base32_writes_what_it_reads(void **state)
{
    (void)state;
    struct t_rand r = t_rand_seeded(t_seed(), 1);
    for (size_t len = 0; len < 60; len++) {
        uint8_t bytes[60], again[60];
        char text[BR_BASE32_CHARS(60) + 1];
        t_rand_fill(&r, bytes, len);
        br_base32_text(bytes, len, text);
        assert_int_equal(strlen(text), BR_BASE32_CHARS(len));
        assert_true(br_base32_parse(text, strlen(text), again, len));
        assert_memory_equal(bytes, again, len);
    }
    char text[16];
    br_base32_text("\x00\x44\x32\x14\xc7", 5, text); // 0, 1, 2, 3, 4, 5, 6, 7 as 5-bit groups
    assert_string_equal(text, "01234567");
}

static void base32_takes_look_alikes_and_refuses_the_rest(void **state)
{
    (void)state;
    uint8_t bytes[5];
    assert_true(br_base32_parse("OIL34567", 8, bytes, 5));
    assert_memory_equal(bytes, "\x00\x42\x32\x14\xc7", 5);
    assert_false(br_base32_parse("u1234567", 8, bytes, 5));
    assert_false(br_base32_parse("0123456", 7, bytes, 5));
    assert_false(br_base32_parse("01", 2, bytes, 5));
    assert_false(br_base32_parse("01", 2, bytes, 1)); // spare bits set
    assert_true(br_base32_parse("04", 2, bytes, 1));
}

static void an_identity_is_made_once_and_stays(void **state)
{
    (void)state;
    struct t_host host;
    struct br_keys *again;
    struct stat st;
    char text[BR_FINGERPRINT_TEXT_BYTES];
    struct br_fingerprint parsed;

    t_host_make(&host);
    assert_int_equal(fstatat(host.state_fd, BR_IDENTITY_FILE, &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(br_keys_load(host.state_fd, false, &again, NULL), 0);
    assert_true(br_fingerprint_equal(br_keys_fingerprint(host.keys), br_keys_fingerprint(again)));
    br_fingerprint_text(br_keys_fingerprint(again), text);
    assert_int_equal(strlen(text), 52);
    assert_true(br_fingerprint_parse(text, &parsed));
    assert_true(br_fingerprint_equal(&parsed, br_keys_fingerprint(again)));
    text[51] = '\0';
    assert_false(br_fingerprint_parse(text, &parsed));
    br_keys_free(again);
    t_host_end(&host);
}

static void an_identity_that_is_not_there_is_not_made_unasked(void **state)
{
    (void)state;
    struct t_host host;
    struct br_keys *keys;

    t_host_make(&host);
    assert_int_equal(unlinkat(host.state_fd, BR_IDENTITY_FILE, 0), 0);
    assert_int_equal(br_keys_load(host.state_fd, false, &keys, NULL), -BR_E_NOT_FOUND);
    assert_int_equal(faccessat(host.state_fd, BR_IDENTITY_FILE, F_OK, 0), -1);
    t_host_end(&host);
}

static void an_identity_that_others_can_read_is_refused(void **state)
{
    (void)state;
    struct t_host host;
    struct br_keys *keys;
    struct br_err err = {0};

    t_host_make(&host);
    assert_int_equal(fchmodat(host.state_fd, BR_IDENTITY_FILE, 0640, 0), 0);
    assert_int_equal(br_keys_load(host.state_fd, true, &keys, &err), -BR_E_PERMISSION);
    assert_non_null(strstr(err.text, BR_IDENTITY_FILE));
    t_host_end(&host);
}

static void a_damaged_identity_is_refused_and_kept(void **state)
{
    (void)state;
    struct t_host host;
    struct br_keys *keys;
    struct br_buf content = {0};
    static const char garbage[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    t_host_make(&host);
    assert_int_equal(br_trust_write(host.state_fd, BR_IDENTITY_FILE, garbage, strlen(garbage), NULL), 0);
    assert_int_equal(br_keys_load(host.state_fd, true, &keys, NULL), -BR_E_CORRUPT);
    assert_int_equal(br_trust_read(host.state_fd, BR_IDENTITY_FILE, true, &content, NULL), 0);
    assert_int_equal(content.len, strlen(garbage));
    br_buf_free(&content);
    t_host_end(&host);
}

static void an_identity_of_another_kind_of_key_is_refused(void **state)
{
    (void)state;
    struct t_host host;
    struct br_keys *keys;
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;

    t_host_make(&host);
    assert_true(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL));
    long len = BIO_get_mem_data(bio, &pem);
    assert_int_equal(br_trust_write(host.state_fd, BR_IDENTITY_FILE, pem, (size_t)len, NULL), 0);
    assert_int_equal(br_keys_load(host.state_fd, true, &keys, NULL), -BR_E_CORRUPT);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    t_host_end(&host);
}

// How often @needle lies in memory of @pid that a core dump would have.
static int found_in_core(pid_t pid, const void *needle, size_t len)
{
    char path[64], line[512];
    unsigned long from = 0, to = 0;
    int count = 0;

    snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
    FILE *maps = fopen(path, "re");
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    while (maps && mem >= 0 && fgets(line, sizeof(line), maps)) {
        unsigned long a, b;
        char perms[8];
        if (sscanf(line, "%lx-%lx %7s", &a, &b, perms) == 3) {
            from = perms[0] == 'r' && perms[1] == 'w' ? a : 0;
            to = b;
        } else if (!strncmp(line, "VmFlags:", 8) && from && !strstr(line, " dd") && to - from < (64u << 20)) {
            char *bytes = malloc(to - from);
            ssize_t got = bytes ? pread(mem, bytes, to - from, (off_t)from) : 0;
            for (char *at = bytes; got > 0 && (at = memmem(at, (size_t)(bytes + got - at), needle, len)); at++) {
                count++;
            }
            free(bytes);
        }
    }
    if (maps) {
        fclose(maps);
    }
    if (mem >= 0) {
        close(mem);
    }
    return maps && mem >= 0 ? count : -1;
}

// A process that has loaded the identity, made when it is not there, and waits to be killed.
static pid_t process_with_identity(int state_fd)
{
    int ready[2];
    char byte = 0;

    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (!pid) {
        struct br_keys *keys;
        if (!br_keys_load(state_fd, true, &keys, NULL) && write(ready[1], "1", 1) == 1) {
            pause();
        }
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void a_core_dump_has_no_private_key(void **state)
{
    (void)state;
    char path[256];
    unsigned char seed[32], pem[1024];
    size_t len = sizeof(seed);

    snprintf(path, sizeof(path), "%s/keys.XXXXXX", t_folder());
#ifdef __SANITIZE_ADDRESS__
    skip(); // the sanitizer keeps what was freed, in memory of its own
#endif
    assert_non_null(mkdtemp(path));
    int state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pid_t pids[] = {process_with_identity(state_fd), process_with_identity(state_fd)}; // made, loaded
    int fd = openat(state_fd, BR_IDENTITY_FILE, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, pem, sizeof(pem) - 1);
    assert_true(got > 64);
    pem[got] = 0;
    BIO *bio = BIO_new_mem_buf(pem, (int)got);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    assert_int_equal(EVP_PKEY_get_raw_private_key(key, seed, &len), 1);
    int self = found_in_core(getpid(), seed, sizeof(seed));
    int raw[2], text[2]; // in base 64
    for (size_t i = 0; i < BR_ARRAY_LEN(pids); i++) {
        raw[i] = found_in_core(pids[i], seed, sizeof(seed));
        text[i] = found_in_core(pids[i], strchr((char *)pem, '\n') + 24, 40);
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(pids); i++) {
        assert_int_equal(raw[i], self < 0 ? -1 : 0); // -1: memory can't be looked into here
        assert_int_equal(text[i], self < 0 ? -1 : 0);
    }
    assert_int_not_equal(self, 0); // it would be found
    EVP_PKEY_free(key);
    BIO_free(bio);
    close(fd);
    assert_int_equal(unlinkat(state_fd, BR_IDENTITY_FILE, 0), 0);
    close(state_fd);
    assert_int_equal(rmdir(path), 0);
}

static void two_first_users_end_up_with_one_identity(void **state)
{
    (void)state;
    enum { MANY = 8 };
    struct t_host host;
    struct br_keys *keys;
    int pipe_fds[2];

    t_host_make(&host);
    for (int round = 0; round < 10; round++) {
        assert_int_equal(unlinkat(host.state_fd, BR_IDENTITY_FILE, 0), 0);
        assert_int_equal(pipe(pipe_fds), 0);
        for (int i = 0; i < MANY; i++) {
            if (!fork()) {
                int rc = br_keys_load(host.state_fd, true, &keys, NULL);
                ssize_t put = rc ? -1 : write(pipe_fds[1], br_keys_fingerprint(keys), BR_FINGERPRINT_BYTES);
                _exit(put != BR_FINGERPRINT_BYTES);
            }
        }
        assert_int_equal(br_keys_load(host.state_fd, true, &keys, NULL), 0);
        for (int i = 0; i < MANY; i++) {
            struct br_fingerprint seen;
            int status;
            wait(&status);
            assert_int_equal(status, 0);
            assert_int_equal(read(pipe_fds[0], &seen, sizeof(seen)), sizeof(seen));
            assert_true(br_fingerprint_equal(&seen, br_keys_fingerprint(keys)));
        }
        br_keys_free(keys);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
    }
    t_host_end(&host);
}

static void a_trust_file_is_not_followed_through_a_link(void **state)
{
    (void)state;
    struct t_host host;
    struct br_buf content = {0};

    t_host_make(&host);
    assert_int_equal(symlinkat(BR_IDENTITY_FILE, host.state_fd, "link"), 0);
    assert_true(br_trust_read(host.state_fd, "link", true, &content, NULL) < 0);
    assert_int_equal(br_trust_read(host.state_fd, ".", true, &content, NULL), -BR_E_CORRUPT);
    br_buf_free(&content);
    t_host_end(&host);
}

static void a_trust_file_that_is_too_long_is_refused(void **state)
{
    (void)state;
    struct t_host host;
    struct br_buf content = {0};

    t_host_make(&host);
    int fd = openat(host.state_fd, "long", O_CREAT | O_RDWR, 0600);
    assert_int_equal(ftruncate(fd, BR_TRUST_FILE_BYTES_MAX + 1), 0);
    close(fd);
    assert_int_equal(br_trust_read(host.state_fd, "long", true, &content, NULL), -BR_E_LIMIT);
    br_buf_free(&content);
    t_host_end(&host);
}

static void a_lock_keeps_the_second_out_until_it_is_let_go(void **state)
{
    (void)state;
    struct t_host host;
    int first, second, status;

    t_host_make(&host);
    assert_int_equal(br_trust_lock(host.state_fd, "lock", &first, NULL), 0);
    pid_t child = fork();
    if (!child) {
        close(first); // the parent's stays
        _exit(br_trust_lock(host.state_fd, "lock", &second, NULL) ? 1 : 0);
    }
    usleep(200000);
    assert_int_equal(waitpid(child, &status, WNOHANG), 0);
    close(first);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    t_host_end(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base32_writes_what_it_reads),
        cmocka_unit_test(base32_takes_look_alikes_and_refuses_the_rest),
        cmocka_unit_test(an_identity_is_made_once_and_stays),
        cmocka_unit_test(an_identity_that_is_not_there_is_not_made_unasked),
        cmocka_unit_test(an_identity_that_others_can_read_is_refused),
        cmocka_unit_test(a_damaged_identity_is_refused_and_kept),
        cmocka_unit_test(an_identity_of_another_kind_of_key_is_refused),
        cmocka_unit_test(a_core_dump_has_no_private_key),
        cmocka_unit_test(two_first_users_end_up_with_one_identity),
        cmocka_unit_test(a_trust_file_is_not_followed_through_a_link),
        cmocka_unit_test(a_trust_file_that_is_too_long_is_refused),
        cmocka_unit_test(a_lock_keeps_the_second_out_until_it_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
