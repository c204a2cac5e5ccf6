// SPDX-License-Identifier: Apache-2.0
//
// Tokens, pairing, the registry of clients and the list of servers.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/net/base32.h"
#include "engine/net/pairing.h"
#include "engine/net/trust_file.h"
#include "tests/lib/t_net.h"

static struct t_host server_host, client_host;

static int setup(void **state)
{
    (void)state;
    t_host_make(&server_host);
    t_host_make(&client_host);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    t_host_end(&server_host);
    t_host_end(&client_host);
    return 0;
}

static struct br_token_text token_for(enum br_role role, const char *volumes)
{
    struct br_token_text token = {0};
    struct br_err err = {0};
    assert_int_equal(
        br_token_create(server_host.state_fd, br_keys_fingerprint(server_host.keys), role, volumes, 3600, &token, &err),
        0);
    return token;
}

// A server that lets one client pair, at a moment that the test sets off from now.
struct server {
    struct t_listener listener;
    pthread_t thread;
    int64_t later_unix_s, later_booted_s;
    struct br_uuid boot; // when not nil: another boot
    int result;
    struct br_client client;
    struct br_err err;
};

static void *server_main(void *ctx)
{
    struct server *server = ctx;
    struct br_moment now;
    struct br_tls *tls;
    int fd = t_accept(&server->listener);

    br_moment_now(&now);
    now.unix_s = (uint64_t)((int64_t)now.unix_s + server->later_unix_s);
    now.booted_s = (uint64_t)((int64_t)now.booted_s + server->later_booted_s);
    now.boot = br_uuid_is_nil(&server->boot) ? now.boot : server->boot;
    server->result = br_tls_accept(fd, server_host.keys, NULL, &tls, &server->err);
    if (!server->result) {
        assert_int_equal(br_tls_protocol_of(tls), BR_TLS_PAIRING);
        server->result = br_pair_serve(tls, server_host.state_fd, br_keys_fingerprint(server_host.keys), &now,
                                       &server->client, &server->err);
        br_tls_channel(tls).ops->close(tls);
    }
    return NULL;
}

// One pairing, start to end. Returns the client's result.
static int pair(struct server *server, const struct br_token_text *token, struct br_client *self, struct br_err *err)
{
    t_listen(&server->listener);
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
    int rc = br_pair_client(client_host.state_fd, client_host.keys, token, &server->listener.address, "web 1\n", NULL,
                            self, err);
    pthread_join(server->thread, NULL);
    t_listener_end(&server->listener);
    return rc;
}

static bool server_knows_client(void)
{
    struct br_registry registry;
    assert_int_equal(br_registry_load(server_host.state_fd, &registry, NULL), 0);
    bool knows = br_registry_client(&registry, br_keys_fingerprint(client_host.keys)) != NULL;
    br_registry_free(&registry);
    return knows;
}

static void pairing_makes_both_sides_know_each_other(void **state)
{
    (void)state;
    struct br_token_text token = token_for(BR_ROLE_WRITER, "db,www");
    struct server server = {0};
    struct br_client self;
    struct br_server known;
    struct br_registry registry;
    struct br_err err = {0};

    assert_int_equal(pair(&server, &token, &self, &err), 0);
    assert_int_equal(server.result, 0);
    assert_int_equal(self.role, BR_ROLE_WRITER);
    assert_string_equal(self.volumes, "db,www");
    assert_int_equal(br_servers_find(client_host.state_fd, &server.listener.address, &known, NULL), 0);
    assert_true(br_fingerprint_equal(&known.fingerprint, br_keys_fingerprint(server_host.keys)));
    assert_int_equal(br_registry_load(server_host.state_fd, &registry, NULL), 0);
    struct br_client *entry = br_registry_client(&registry, br_keys_fingerprint(client_host.keys));
    assert_non_null(entry);
    assert_string_equal(entry->name, "web 1\n");
    assert_true(br_client_may(entry, BR_ROLE_READER, "db"));
    assert_true(br_client_may(entry, BR_ROLE_WRITER, "www"));
    assert_false(br_client_may(entry, BR_ROLE_OPERATOR, "db"));
    assert_false(br_client_may(entry, BR_ROLE_READER, "ww"));
    assert_false(br_client_may(entry, BR_ROLE_READER, "../db"));
    br_registry_free(&registry);
}

static void a_used_token_is_refused(void **state)
{
    (void)state;
    struct br_token_text token = token_for(BR_ROLE_WRITER, "");
    struct server server = {0}, again = {0};
    struct br_client self;
    struct br_err err = {0};

    assert_int_equal(pair(&server, &token, &self, NULL), 0);
    assert_int_equal(pair(&again, &token, &self, &err), -BR_E_AUTH);
    assert_non_null(strstr(err.text, "used already"));
}

static void an_expired_token_is_refused_by_the_boot_clock_alone(void **state)
{
    (void)state;
    struct br_token_text token = token_for(BR_ROLE_WRITER, "");
    struct server late = {.later_booted_s = 3600}, jumped = {.later_unix_s = 40LL * 365 * 86400};
    struct br_client self;
    struct br_err err = {0};

    assert_int_equal(pair(&late, &token, &self, &err), -BR_E_AUTH);
    assert_non_null(strstr(err.text, "expired"));
    assert_false(server_knows_client());
    assert_int_equal(pair(&jumped, &token, &self, &err),
                     0); // the wall clock, decades off, decides nothing within a boot
}

static void after_a_reboot_the_wall_clock_decides_and_never_for_longer(void **state)
{
    (void)state;
    struct br_token token = {.created = {.unix_s = 1000, .booted_s = 50, .boot = {{1}}}, .lifetime_s = 100};
    struct br_moment now = {.unix_s = 1050, .booted_s = 10, .boot = {{2}}};

    assert_false(br_token_expired(&token, &now));
    now.unix_s = 1100;
    assert_true(br_token_expired(&token, &now));
    now.unix_s = 999; // before it was made
    assert_true(br_token_expired(&token, &now));
    now = (struct br_moment){.unix_s = 1050, .booted_s = 149, .boot = {{1}}};
    assert_false(br_token_expired(&token, &now));
    now.booted_s = 150;
    assert_true(br_token_expired(&token, &now));
    now.boot = (struct br_uuid){{0}}; // the kernel does not tell: wall clock
    assert_false(br_token_expired(&token, &now));
}

static void a_token_of_another_server_is_refused_before_anything_is_said(void **state)
{
    (void)state;
    struct br_token_text token = token_for(BR_ROLE_WRITER, "");
    struct server middle = {0}; // has server_host's key; the token names another one
    struct br_client self;
    struct br_err err = {0};
    char expected[BR_FINGERPRINT_TEXT_BYTES];

    token.server.bytes[0] ^= 1;
    br_fingerprint_text(&token.server, expected);
    assert_int_equal(pair(&middle, &token, &self, &err), -BR_E_AUTH);
    assert_non_null(strstr(err.text, expected));
    assert_int_equal(middle.result, -BR_E_AUTH); // the handshake failed: no proof was made
    assert_false(server_knows_client());
}

static void an_unknown_token_is_refused(void **state)
{
    (void)state;
    struct br_token_text token = token_for(BR_ROLE_WRITER, "");
    struct server server = {0};
    struct br_client self;
    struct br_err err = {0};

    token.secret[3] ^= 1;
    assert_int_equal(pair(&server, &token, &self, &err), -BR_E_AUTH);
    assert_false(server_knows_client());
}

// A proof made for one connection, sent over another: what a man in the middle who got hold of it would do.
static int replayed_proof(const struct br_token_text *token, struct br_err *err)
{
    struct server server = {0};
    struct br_tls *tls;
    struct br_buf message = {0};
    uint8_t id[BR_TOKEN_ID_BYTES], proof[BR_PAIR_PROOF_BYTES] = {1};

    t_listen(&server.listener);
    assert_int_equal(pthread_create(&server.thread, NULL, server_main, &server), 0);
    assert_int_equal(br_tls_connect(&server.listener.address, client_host.keys, br_keys_fingerprint(server_host.keys),
                                    BR_TLS_PAIRING, NULL, &tls, NULL),
                     0);
    assert_int_equal(br_token_id(token, id, NULL), 0);
    br_buf_u8(&message, 1);
    br_buf_append(&message, id, sizeof(id));
    br_buf_string(&message, "thief");
    br_buf_append(&message, proof, sizeof(proof));
    assert_int_equal(br_tls_channel(tls).ops->send(tls, message.data, message.len, NULL, 0, NULL), 0);
    int rc = br_tls_channel(tls).ops->recv(tls, &message, 10 * BR_NS_PER_S, err);
    br_tls_channel(tls).ops->close(tls);
    pthread_join(server.thread, NULL);
    t_listener_end(&server.listener);
    br_buf_free(&message);
    return rc;
}

static void wrong_proofs_burn_the_token(void **state)
{
    (void)state;
    struct br_token_text token = token_for(BR_ROLE_WRITER, "");
    struct server server = {0};
    struct br_client self;
    struct br_err err = {0};

    for (unsigned i = 0; i < BR_TOKEN_FAILURES_MAX; i++) {
        assert_int_equal(replayed_proof(&token, &err), -BR_E_AUTH);
    }
    assert_int_equal(pair(&server, &token, &self, &err), -BR_E_AUTH);
    assert_false(server_knows_client());
}

static void the_servers_state_does_not_hold_the_secret(void **state)
{
    (void)state;
    struct br_token_text token = token_for(BR_ROLE_ADMIN, "");
    struct br_buf content = {0};
    char secret[BR_BASE32_CHARS(BR_TOKEN_SECRET_BYTES) + 1];

    assert_int_equal(br_trust_read(server_host.state_fd, BR_CLIENTS_FILE, true, &content, NULL), 0);
    br_base32_text(token.secret, sizeof(token.secret), secret);
    assert_null(memmem(content.data, content.len, token.secret, sizeof(token.secret)));
    assert_null(memmem(content.data, content.len, secret, strlen(secret)));
    br_buf_free(&content);
}

static void a_token_survives_copying_and_a_wrong_copy_is_noticed(void **state)
{
    (void)state;
    struct br_token_text token = token_for(BR_ROLE_READER, ""), again;
    char text[BR_TOKEN_TEXT_BYTES], spaced[BR_TOKEN_TEXT_BYTES + 8];

    br_token_text_write(&token, text);
    snprintf(spaced, sizeof(spaced), " \t%s \r\n", text);
    assert_int_equal(br_token_text_parse(spaced, strlen(spaced), &again, NULL), 0);
    assert_memory_equal(&again, &token, sizeof(token));
    for (size_t i = 0; i < strlen(text); i++) {
        char kept = text[i];
        text[i] = kept == 'x' ? 'y' : 'x';
        assert_int_equal(br_token_text_parse(text, strlen(text), &again, NULL), -BR_E_USAGE);
        text[i] = kept;
    }
    for (size_t len = 0; len < strlen(text); len++) {
        assert_int_equal(br_token_text_parse(text, len, &again, NULL), -BR_E_USAGE);
    }
}

static struct br_client a_client(unsigned number)
{
    struct br_client client = {.role = BR_ROLE_READER, .created_unix_s = UINT64_MAX};
    br_put_u32(client.fingerprint.bytes, number);
    snprintf(client.name, sizeof(client.name), "%u \xff=%%\n\t", number);
    return client;
}

static void the_registry_reads_what_it_wrote(void **state)
{
    (void)state;
    struct br_registry registry = {0}, again;
    struct br_buf first = {0}, second = {0};

    for (unsigned i = 0; i < BR_CLIENTS_MAX; i++) {
        struct br_client client = a_client(i);
        assert_int_equal(br_registry_put_client(&registry, &client, NULL), 0);
    }
    struct br_client extra = a_client(BR_CLIENTS_MAX);
    assert_int_equal(br_registry_put_client(&registry, &extra, NULL), -BR_E_LIMIT);
    assert_true(br_registry_drop_client(&registry, &registry.clients[17].fingerprint));
    assert_int_equal(br_registry_put_client(&registry, &extra, NULL), 0);
    struct br_token token = {.role = BR_ROLE_ADMIN, .lifetime_s = 5, .volumes = "a,b"};
    assert_int_equal(br_registry_put_token(&registry, &token, NULL), 0);
    br_registry_encode(&registry, &first);
    assert_int_equal(br_registry_parse(first.data, first.len, &again, NULL), 0);
    assert_int_equal(again.client_count, BR_CLIENTS_MAX);
    assert_int_equal(again.token_count, 1);
    assert_memory_equal(again.clients, registry.clients, BR_CLIENTS_MAX * sizeof(*again.clients));
    br_registry_encode(&again, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    br_registry_free(&registry);
    br_registry_free(&again);
    br_buf_free(&first);
    br_buf_free(&second);
}

static void each_defect_of_the_registry_is_refused_with_its_line(void **state)
{
    (void)state;
#define FP   "0000000000000000000000000000000000000000000000000000"
#define GOOD "client " FP " role=reader created=1 volumes= name=x\n"
    static const char *const bad[] = {
        "blkrep-clients 1\n" GOOD GOOD,
        "blkrep-clients 1\nclient " FP " role=king created=1 volumes= name=x\n",
        "blkrep-clients 1\nclient " FP " role=reader created=-1 volumes= name=x\n",
        "blkrep-clients 1\nclient " FP " role=reader created=99999999999999999999 volumes= name=x\n",
        "blkrep-clients 1\nclient " FP " role=reader created=1 volumes=a/b name=x\n",
        "blkrep-clients 1\nclient " FP " role=reader created=1 volumes=a, name=x\n",
        "blkrep-clients 1\nclient " FP " role=reader created=1 volumes= name=%00\n",
        "blkrep-clients 1\nclient " FP " role=reader created=1 volumes= name=x extra=1\n",
        "blkrep-clients 1\nclient " FP " role=reader created=1 volumes=\n",
        "blkrep-clients 1\nclient " FP " role=reader created=1 volumes= name=x",
        "blkrep-clients 1\nclient 0 role=reader created=1 volumes= name=x\n",
        "blkrep-clients 1\nfriend " FP "\n",
        "blkrep-clients 1\n\n",
        "blkrep-clients 2\n",
        "",
    };
    struct br_registry registry;
    struct br_err err;

    assert_int_equal(br_registry_parse("blkrep-clients 1\n" GOOD, strlen("blkrep-clients 1\n" GOOD), &registry, NULL),
                     0);
    br_registry_free(&registry);
    for (size_t i = 0; i < BR_ARRAY_LEN(bad); i++) {
        if (br_registry_parse(bad[i], strlen(bad[i]), &registry, &err) != -BR_E_CORRUPT) {
            fail_msg("taken: %s", bad[i]);
        }
        assert_non_null(strstr(err.text, "line "));
    }
}

static void volume_names_are_safe_file_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "a/b",
                                      "a.b",
                                      "-a",
                                      "_a",
                                      "a b",
                                      "a\n",
                                      "\xc3\xa4",
                                      "0123456789012345678901234567890123456789012345678901234567890123456789"};
    assert_true(br_volume_name_ok("db-1_A"));
    for (size_t i = 0; i < BR_ARRAY_LEN(bad); i++) {
        assert_false(br_volume_name_ok(bad[i]));
    }
    assert_true(br_volume_list_ok(""));
    assert_true(br_volume_list_ok("a,b"));
    assert_false(br_volume_list_ok(",a"));
    assert_false(br_volume_list_ok("a,"));
}

static void a_server_paired_anew_replaces_its_old_key(void **state)
{
    (void)state;
    struct br_server server = {.address = {.host = "h", .port = 7}}, found;
    struct br_err err = {0};

    assert_int_equal(br_servers_find(client_host.state_fd, &server.address, &found, &err), -BR_E_AUTH);
    assert_non_null(strstr(err.text, "blkrep pair h:7"));
    assert_int_equal(br_servers_keep(client_host.state_fd, &server, NULL), 0);
    server.fingerprint.bytes[0] = 9;
    assert_int_equal(br_servers_keep(client_host.state_fd, &server, NULL), 0);
    assert_int_equal(br_servers_find(client_host.state_fd, &server.address, &found, NULL), 0);
    assert_true(br_fingerprint_equal(&found.fingerprint, &server.fingerprint));
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        EACH(pairing_makes_both_sides_know_each_other),
        EACH(a_used_token_is_refused),
        EACH(an_expired_token_is_refused_by_the_boot_clock_alone),
        EACH(after_a_reboot_the_wall_clock_decides_and_never_for_longer),
        EACH(a_token_of_another_server_is_refused_before_anything_is_said),
        EACH(an_unknown_token_is_refused),
        EACH(wrong_proofs_burn_the_token),
        EACH(the_servers_state_does_not_hold_the_secret),
        EACH(a_token_survives_copying_and_a_wrong_copy_is_noticed),
        EACH(the_registry_reads_what_it_wrote),
        EACH(each_defect_of_the_registry_is_refused_with_its_line),
        EACH(volume_names_are_safe_file_names),
        EACH(a_server_paired_anew_replaces_its_old_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
