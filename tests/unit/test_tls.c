// SPDX-License-Identifier: Apache-2.0
//
// Connections: both ends in this process, the server's on a thread of its own, over loopback TCP.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/net/clock.h"
#include "engine/net/tls.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_net.h"

static struct t_host server_host, client_host;

// The server: accepts one connection, then does what the test says.
struct server {
    struct t_listener listener;
    pthread_t thread;
    struct br_tls_options options;
    void (*serve)(struct server *server, struct br_tls *tls); // owns the connection; NULL: echo
    int result;                                               // of br_tls_accept()
    struct br_err err;
    struct br_fingerprint seen;
    uint64_t accept_ns; // how long it took
};

static void echo(struct server *server, struct br_tls *tls)
{
    struct br_channel channel = br_tls_channel(tls);
    struct br_buf message = {0};
    int rc = br_tls_welcome(tls, &server->err);

    while (!rc) {
        rc = channel.ops->recv(tls, &message, 20 * BR_NS_PER_S, &server->err);
        if (rc == 1) {
            rc = channel.ops->send(tls, message.data, BR_MIN(message.len, (size_t)9),
                                   message.data + BR_MIN(message.len, (size_t)9),
                                   message.len - BR_MIN(message.len, (size_t)9), &server->err);
        } else if (!rc) {
            rc = -1;
        }
    }
    br_buf_free(&message);
    channel.ops->close(tls);
}

static void *server_main(void *ctx)
{
    struct server *server = ctx;
    struct br_tls *tls;
    int fd = t_accept(&server->listener);
    uint64_t from = br_clock_ns();

    server->result = br_tls_accept(fd, server_host.keys, &server->options, &tls, &server->err);
    server->accept_ns = br_clock_ns() - from;
    if (!server->result) {
        server->seen = *br_tls_peer(tls);
        (server->serve ? server->serve : echo)(server, tls);
    }
    return NULL;
}

static void server_start(struct server *server)
{
    t_listen(&server->listener);
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

static void server_end(struct server *server)
{
    pthread_join(server->thread, NULL);
    t_listener_end(&server->listener);
}

static int client_connect(struct server *server, const struct br_tls_options *options, struct br_tls **ret_tls,
                          struct br_err *err)
{
    return br_tls_connect(&server->listener.address, client_host.keys, br_keys_fingerprint(server_host.keys),
                          BR_TLS_SESSION, options, ret_tls, err);
}

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

static void messages_of_every_size_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 16384, 16385, 65536, 1000003, BR_MESSAGE_BYTES_MAX};
    struct server server = {.options = {.rekey_bytes = 100000}};
    struct br_tls *tls;
    struct br_buf message = {0};
    struct t_rand r = t_rand_seeded(t_seed(), 1);
    uint8_t *data = malloc(BR_MESSAGE_BYTES_MAX);

    server_start(&server);
    assert_int_equal(client_connect(&server, &server.options, &tls, NULL), 0);
    struct br_channel channel = br_tls_channel(tls);
    for (size_t i = 0; i < BR_ARRAY_LEN(sizes); i++) {
        t_rand_fill(&r, data, sizes[i]);
        assert_int_equal(channel.ops->send(tls, data, sizes[i] / 2, data + sizes[i] / 2, sizes[i] - sizes[i] / 2, NULL),
                         0);
        assert_int_equal(channel.ops->recv(tls, &message, 20 * BR_NS_PER_S, NULL), 1);
        assert_int_equal(message.len, sizes[i]);
        assert_memory_equal(message.data, data, sizes[i]);
    }
    assert_true(channel.ops->sent_bytes(tls) > 5 * BR_MIB);
    channel.ops->close(tls);
    server_end(&server);
    assert_int_equal(server.result, 0);
    assert_true(br_fingerprint_equal(&server.seen, br_keys_fingerprint(client_host.keys)));
    br_buf_free(&message);
    free(data);
}

static void many_messages_stay_in_order_with_queues_full_both_ways(void **state)
{
    (void)state;
    enum { MANY = 400, LEN = 100000 };
    struct server server = {.options = {.queue_bytes = 300000}};
    struct br_tls *tls;
    struct br_buf message = {0};
    uint8_t *data = calloc(1, LEN);
    unsigned sent = 0, came = 0;

    server_start(&server);
    assert_int_equal(client_connect(&server, NULL, &tls, NULL), 0);
    struct br_channel channel = br_tls_channel(tls);
    while (came < MANY) {
        while (sent < MANY && sent - came < 60) { // more than the server's queues hold
            br_put_u32(data, sent++);
            assert_int_equal(channel.ops->send(tls, data, LEN, NULL, 0, NULL), 0);
        }
        assert_int_equal(channel.ops->recv(tls, &message, 20 * BR_NS_PER_S, NULL), 1);
        assert_int_equal(message.len, LEN);
        assert_int_equal(br_get_u32(message.data), came++);
    }
    channel.ops->close(tls);
    server_end(&server);
    br_buf_free(&message);
    free(data);
}

static void a_server_with_another_key_is_refused_and_both_keys_are_named(void **state)
{
    (void)state;
    struct server server = {.options = {.handshake_timeout_ns = 3 * BR_NS_PER_S}};
    struct br_tls *tls;
    struct br_err err = {0};
    char expected[BR_FINGERPRINT_TEXT_BYTES], seen[BR_FINGERPRINT_TEXT_BYTES];

    server_start(&server);
    assert_int_equal(br_tls_connect(&server.listener.address, client_host.keys, br_keys_fingerprint(client_host.keys),
                                    BR_TLS_SESSION, NULL, &tls, &err),
                     -BR_E_AUTH);
    br_fingerprint_text(br_keys_fingerprint(client_host.keys), expected);
    br_fingerprint_text(br_keys_fingerprint(server_host.keys), seen);
    assert_non_null(strstr(err.text, expected));
    assert_non_null(strstr(err.text, seen));
    server_end(&server);
    assert_int_equal(server.result, -BR_E_AUTH);
}

static void turn_away(struct server *server, struct br_tls *tls)
{
    (void)server;
    br_tls_turn_away(tls, BR_E_AUTH, "not paired\nwith this server");
}

static void a_client_that_is_turned_away_is_told_why(void **state)
{
    (void)state;
    struct server server = {.serve = turn_away};
    struct br_tls *tls;
    struct br_err err = {0};

    server_start(&server);
    assert_int_equal(client_connect(&server, NULL, &tls, &err), -BR_E_AUTH);
    assert_non_null(strstr(err.text, "\\nwith this server")); // what a peer says never breaks a line
    server_end(&server);
}

static void silent(struct server *server, struct br_tls *tls)
{
    int *go_on = (int *)server->options.watch_ctx;
    br_tls_watch(tls, NULL, NULL);
    while (!__atomic_load_n(go_on, __ATOMIC_ACQUIRE)) {
        usleep(10000);
    }
    br_tls_channel(tls).ops->close(tls);
}

static void a_server_that_never_welcomes_is_given_up(void **state)
{
    (void)state;
    int go_on = 0;
    struct server server = {.serve = silent, .options = {.watch_ctx = &go_on}};
    struct br_tls_options options = {.handshake_timeout_ns = 300 * BR_NS_PER_MS};
    struct br_tls *tls;

    server_start(&server);
    assert_int_equal(client_connect(&server, &options, &tls, NULL), -BR_E_TIMEOUT);
    __atomic_store_n(&go_on, 1, __ATOMIC_RELEASE);
    server_end(&server);
}

static void nobody_there_is_said_within_the_time(void **state)
{
    (void)state;
    struct t_listener listener;
    struct br_tls *tls;
    struct br_err err = {0};

    t_listen(&listener);
    t_listener_end(&listener); // a port where nobody listens
    assert_int_equal(br_tls_connect(&listener.address, client_host.keys, br_keys_fingerprint(server_host.keys),
                                    BR_TLS_SESSION, NULL, &tls, &err),
                     -BR_E_PEER);
    assert_non_null(strstr(err.text, "127.0.0.1:"));
}

// What an attacker sends instead of TLS, over a bare socket. Returns the server's verdict.
static int hostile_bytes(const void *bytes, size_t len, unsigned hold_ms, struct br_err *err, uint64_t *ret_accept_ns)
{
    struct server server = {.options = {.handshake_timeout_ns = 500 * BR_NS_PER_MS}};
    int fd;

    server_start(&server);
    assert_int_equal(br_address_connect(&server.listener.address, BR_NS_PER_S, NULL, &fd, NULL), 0);
    if (len) {
        assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
    }
    usleep(hold_ms * 1000);
    if (!hold_ms) {
        shutdown(fd, SHUT_WR);
    }
    server_end(&server);
    close(fd);
    *err = server.err;
    *ret_accept_ns = server.accept_ns;
    return server.result;
}

static void garbage_instead_of_tls_is_refused(void **state)
{
    (void)state;
    struct br_err err;
    uint64_t took_ns;

    assert_int_equal(hostile_bytes("GET / HTTP/1.0\r\n\r\n", 18, 0, &err, &took_ns), -BR_E_PROTOCOL);
    assert_int_equal(hostile_bytes("\x16\x03\x01\x00\x05hello", 10, 0, &err, &took_ns), -BR_E_PROTOCOL);
    assert_int_equal(hostile_bytes("", 0, 0, &err, &took_ns), -BR_E_PEER);
}

static void a_peer_that_never_finishes_the_handshake_is_cut_off_in_time(void **state)
{
    (void)state;
    struct br_err err;
    uint64_t took_ns;

    assert_int_equal(hostile_bytes("\x16\x03\x01\x00\x80\x01", 6, 1000, &err, &took_ns), -BR_E_TIMEOUT);
    assert_true(took_ns < 900 * BR_NS_PER_MS);
}

// A TLS client that is not ours. Returns the server's verdict.
static int foreign_client(int version, const char *alpn, bool with_key, struct br_err *err)
{
    struct server server = {.options = {.handshake_timeout_ns = 2 * BR_NS_PER_S}};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int fd;

    server_start(&server);
    assert_int_equal(br_address_connect(&server.listener.address, BR_NS_PER_S, NULL, &fd, NULL), 0);
    fcntl(fd, F_SETFL, 0);
    SSL_CTX_set_max_proto_version(context, version);
    if (with_key) {
        assert_int_equal(br_keys_use(client_host.keys, context, NULL), 0);
    }
    SSL *ssl = SSL_new(context);
    if (alpn) {
        unsigned char wire[64] = {(unsigned char)strlen(alpn)};
        memcpy(wire + 1, alpn, strlen(alpn));
        SSL_set_alpn_protos(ssl, wire, (unsigned)strlen(alpn) + 1);
    }
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1) {
        char byte;
        SSL_read(ssl, &byte, 1);
    }
    server_end(&server);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    ERR_clear_error();
    *err = server.err;
    return server.result;
}

static void an_older_tls_is_refused(void **state)
{
    (void)state;
    struct br_err err;
    assert_int_equal(foreign_client(TLS1_2_VERSION, "blkrep/1", true, &err), -BR_E_PROTOCOL);
}

static void another_protocol_version_is_refused_as_such(void **state)
{
    (void)state;
    struct br_err err;
    assert_int_equal(foreign_client(TLS1_3_VERSION, "blkrep/2", true, &err), -BR_E_VERSION);
    assert_int_equal(foreign_client(TLS1_3_VERSION, NULL, true, &err), -BR_E_VERSION);
}

static void a_client_without_a_key_is_refused(void **state)
{
    (void)state;
    struct br_err err;
    assert_int_equal(foreign_client(TLS1_3_VERSION, "blkrep/1", false, &err), -BR_E_AUTH);
}

// A raw client that gets through the handshake with a valid key, then sends what the test wants inside TLS.
static void hostile_frame(const void *bytes, size_t len, int expected)
{
    struct server server = {0};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int fd;

    server_start(&server);
    assert_int_equal(br_address_connect(&server.listener.address, BR_NS_PER_S, NULL, &fd, NULL), 0);
    fcntl(fd, F_SETFL, 0);
    assert_int_equal(br_keys_use(client_host.keys, context, NULL), 0);
    SSL *ssl = SSL_new(context);
    SSL_set_alpn_protos(ssl,
                        (const unsigned char *)"\x08"
                                               "blkrep/1",
                        9);
    SSL_set_fd(ssl, fd);
    assert_int_equal(SSL_connect(ssl), 1);
    assert_int_equal(SSL_write(ssl, bytes, (int)len), len);
    char sink[256];
    while (SSL_read(ssl, sink, sizeof(sink)) > 0) {}
    server_end(&server);
    assert_int_equal(server.result, 0);
    assert_int_equal(server.err.code, expected);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    ERR_clear_error();
}

static void a_frame_longer_than_allowed_is_refused_by_its_word_alone(void **state)
{
    (void)state;
    uint8_t word[4];
    br_put_u32(word, BR_MESSAGE_BYTES_MAX + 1);
    hostile_frame(word, 4, BR_E_PROTOCOL);
    br_put_u32(word, 0xffffffff);
    hostile_frame(word, 4, BR_E_PROTOCOL);
    br_put_u32(word, br_frame_word(BR_FRAME_MESSAGE, 0));
    hostile_frame(word, 4, BR_E_PROTOCOL);
    br_put_u32(word, br_frame_word(BR_FRAME_WELCOME, 0));
    hostile_frame(word, 4, BR_E_PROTOCOL);
}

static void a_goodbye_ends_the_session_with_its_code(void **state)
{
    (void)state;
    struct br_buf frame = {0}, payload = {0};
    br_buf_string(&payload, "BUSY");
    br_buf_string(&payload, "another run");
    br_buf_u32(&frame, br_frame_word(BR_FRAME_GOODBYE, payload.len));
    br_buf_append(&frame, payload.data, payload.len);
    hostile_frame(frame.data, frame.len, BR_E_BUSY);
    frame.data[4] = 200; // a string longer than the frame
    hostile_frame(frame.data, frame.len, BR_E_PROTOCOL);
    br_buf_free(&frame);
    br_buf_free(&payload);
}

static void idle_connections_live_on_heartbeats(void **state)
{
    (void)state;
    struct server server = {.options = {.idle_ns = 100 * BR_NS_PER_MS, .dead_ns = 500 * BR_NS_PER_MS}};
    struct br_tls *tls;
    struct br_buf message = {0};

    server_start(&server);
    assert_int_equal(client_connect(&server, &server.options, &tls, NULL), 0);
    struct br_channel channel = br_tls_channel(tls);
    assert_int_equal(channel.ops->recv(tls, &message, 1500 * BR_NS_PER_MS, NULL), 0);
    assert_int_equal(channel.ops->send(tls, "x", 1, NULL, 0, NULL), 0);
    assert_int_equal(channel.ops->recv(tls, &message, 5 * BR_NS_PER_S, NULL), 1);
    channel.ops->close(tls);
    server_end(&server);
    br_buf_free(&message);
}

// Between client and server, forwarding bytes until told to swallow them: a cut network that nobody hears of.
struct relay {
    struct t_listener listener;
    struct br_address to;
    pthread_t thread;
    int swallow, stop;
};

static void relay_some(struct relay *relay, int from, int to)
{
    char bytes[65536];
    ssize_t got = recv(from, bytes, sizeof(bytes), MSG_DONTWAIT);
    const char *at = bytes;

    while (got > 0 && !__atomic_load_n(&relay->swallow, __ATOMIC_ACQUIRE)) {
        ssize_t put = send(to, at, (size_t)got, MSG_NOSIGNAL);
        if (put < 0 && errno == EAGAIN) {
            usleep(1000);
        } else if (put < 0) {
            return;
        } else {
            at += put;
            got -= put;
        }
    }
}

static void *relay_main(void *ctx)
{
    struct relay *relay = ctx;
    int near = t_accept(&relay->listener), far = -1;

    if (br_address_connect(&relay->to, BR_NS_PER_S, NULL, &far, NULL)) {
        return NULL;
    }
    while (!__atomic_load_n(&relay->stop, __ATOMIC_ACQUIRE)) {
        struct pollfd fds[2] = {{.fd = near, .events = POLLIN}, {.fd = far, .events = POLLIN}};
        poll(fds, 2, 20);
        relay_some(relay, near, far);
        relay_some(relay, far, near);
    }
    close(near);
    close(far);
    return NULL;
}

static void a_peer_that_the_network_lost_is_noticed_by_both_sides(void **state)
{
    (void)state;
    struct server server = {.options = {.idle_ns = 100 * BR_NS_PER_MS, .dead_ns = 600 * BR_NS_PER_MS}};
    struct relay relay = {0};
    struct br_tls *tls;
    struct br_buf message = {0};
    struct br_err err = {0};

    server_start(&server);
    t_listen(&relay.listener);
    relay.to = server.listener.address;
    assert_int_equal(pthread_create(&relay.thread, NULL, relay_main, &relay), 0);
    assert_int_equal(br_tls_connect(&relay.listener.address, client_host.keys, br_keys_fingerprint(server_host.keys),
                                    BR_TLS_SESSION, &server.options, &tls, &err),
                     0);
    struct br_channel channel = br_tls_channel(tls);
    __atomic_store_n(&relay.swallow, 1, __ATOMIC_RELEASE);
    assert_int_equal(channel.ops->recv(tls, &message, 10 * BR_NS_PER_S, &err), -BR_E_TIMEOUT);
    assert_int_equal(channel.ops->send(tls, "x", 1, NULL, 0, &err), -BR_E_TIMEOUT);
    channel.ops->close(tls);
    server_end(&server); // the server's own clock ended it: the relay closed nothing
    assert_int_equal(server.err.code, BR_E_TIMEOUT);
    __atomic_store_n(&relay.stop, 1, __ATOMIC_RELEASE);
    pthread_join(relay.thread, NULL);
    t_listener_end(&relay.listener);
    br_buf_free(&message);
}

static int watch_revoked(void *ctx, struct br_err *err)
{
    return __atomic_load_n((int *)ctx, __ATOMIC_ACQUIRE) ? br_err_set(err, BR_E_AUTH, "this client was revoked") : 0;
}

static void a_failing_watch_ends_an_idle_session_within_a_second_and_says_why(void **state)
{
    (void)state;
    int revoked = 0;
    struct server server = {.options = {.watch = watch_revoked, .watch_ctx = &revoked}};
    struct br_tls *tls;
    struct br_buf message = {0};
    struct br_err err = {0};

    server_start(&server);
    assert_int_equal(client_connect(&server, NULL, &tls, NULL), 0);
    struct br_channel channel = br_tls_channel(tls);
    assert_int_equal(channel.ops->recv(tls, &message, 700 * BR_NS_PER_MS, &err), 0);
    uint64_t from = br_clock_ns();
    __atomic_store_n(&revoked, 1, __ATOMIC_RELEASE);
    assert_int_equal(channel.ops->recv(tls, &message, 10 * BR_NS_PER_S, &err), -BR_E_AUTH);
    assert_true(br_clock_ns() - from < BR_NS_PER_S);
    assert_non_null(strstr(err.text, "revoked"));
    channel.ops->close(tls);
    server_end(&server);
    br_buf_free(&message);
}

static void last_word(struct server *server, struct br_tls *tls)
{
    struct br_channel channel = br_tls_channel(tls);
    uint8_t *data = calloc(1, BR_MIB);

    assert_int_equal(br_tls_welcome(tls, &server->err), 0);
    for (int i = 0; i < 6; i++) {
        server->result |= channel.ops->send(tls, data, BR_MIB, NULL, 0, &server->err);
    }
    br_tls_finish(tls, 10 * BR_NS_PER_S);
    channel.ops->close(tls);
    free(data);
}

static void what_was_said_last_arrives_when_finish_waited(void **state)
{
    (void)state;
    struct server server = {.serve = last_word};
    struct br_tls *tls;
    struct br_buf message = {0};
    struct br_err err = {0};

    server_start(&server);
    assert_int_equal(client_connect(&server, NULL, &tls, NULL), 0);
    struct br_channel channel = br_tls_channel(tls);
    channel.ops->send(tls, "unread by the server", 20, NULL, 0, NULL);
    usleep(300000);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(channel.ops->recv(tls, &message, 5 * BR_NS_PER_S, &err), 1);
        assert_int_equal(message.len, BR_MIB);
    }
    assert_int_equal(channel.ops->recv(tls, &message, 5 * BR_NS_PER_S, &err), -BR_E_PEER);
    channel.ops->close(tls);
    server_end(&server);
    assert_int_equal(server.result, 0);
    br_buf_free(&message);
}

static void a_rate_limit_holds(void **state)
{
    (void)state;
    struct server server = {0};
    struct br_tls_options options = {.bytes_per_second = 1000000};
    struct br_tls *tls;
    struct br_buf message = {0};
    uint8_t *data = calloc(1, 1000000);

    server_start(&server);
    assert_int_equal(client_connect(&server, &options, &tls, NULL), 0);
    struct br_channel channel = br_tls_channel(tls);
    uint64_t from = br_clock_ns();
    assert_int_equal(channel.ops->send(tls, data, 1000000, NULL, 0, NULL), 0);
    assert_int_equal(channel.ops->recv(tls, &message, 20 * BR_NS_PER_S, NULL), 1);
    uint64_t took_ns = br_clock_ns() - from;
    assert_true(took_ns > 900 * BR_NS_PER_MS);
    assert_true(took_ns < 3 * BR_NS_PER_S);
    br_tls_set_rate(tls, 0);
    from = br_clock_ns();
    assert_int_equal(channel.ops->send(tls, data, 1000000, NULL, 0, NULL), 0);
    assert_int_equal(channel.ops->recv(tls, &message, 20 * BR_NS_PER_S, NULL), 1);
    assert_true(br_clock_ns() - from < 700 * BR_NS_PER_MS);
    channel.ops->close(tls);
    server_end(&server);
    br_buf_free(&message);
    free(data);
}

static void a_rate_limit_on_receiving_slows_the_sender_down(void **state)
{
    (void)state;
    struct server server = {.options = {.receive_bytes_per_second = 1000000}};
    struct br_tls *tls;
    struct br_buf message = {0};
    uint8_t *data = calloc(1, 1000000);

    server_start(&server);
    assert_int_equal(client_connect(&server, NULL, &tls, NULL), 0);
    struct br_channel channel = br_tls_channel(tls);
    uint64_t from = br_clock_ns();
    assert_int_equal(channel.ops->send(tls, data, 1000000, NULL, 0, NULL), 0);
    assert_int_equal(channel.ops->recv(tls, &message, 20 * BR_NS_PER_S, NULL), 1);
    uint64_t took_ns = br_clock_ns() - from;
    assert_true(took_ns > 900 * BR_NS_PER_MS);
    assert_true(took_ns < 3 * BR_NS_PER_S);
    channel.ops->close(tls);
    server_end(&server);
    br_buf_free(&message);
    free(data);
}

static void keep_binding(struct server *server, struct br_tls *tls)
{
    memcpy(server->err.text, br_tls_binding(tls), BR_TLS_BINDING_BYTES);
    echo(server, tls);
}

static void both_ends_know_the_same_binding_and_no_two_connections_do(void **state)
{
    (void)state;
    uint8_t first[BR_TLS_BINDING_BYTES] = {0};

    for (int i = 0; i < 2; i++) {
        struct server server = {.serve = keep_binding};
        struct br_tls *tls;
        server_start(&server);
        assert_int_equal(client_connect(&server, NULL, &tls, NULL), 0);
        assert_memory_equal(server.err.text, br_tls_binding(tls), BR_TLS_BINDING_BYTES);
        assert_memory_not_equal(first, br_tls_binding(tls), BR_TLS_BINDING_BYTES);
        memcpy(first, br_tls_binding(tls), BR_TLS_BINDING_BYTES);
        br_tls_channel(tls).ops->close(tls);
        server_end(&server);
    }
}

static void addresses_are_read_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        unsigned port;
    } good[] = {
        {"backup", "backup", BR_PORT_DEFAULT},
        {"Backup.Example:99", "backup.example", 99},
        {"192.0.2.1:1", "192.0.2.1", 1},
        {"::1", "::1", BR_PORT_DEFAULT},
        {"[::1]", "::1", BR_PORT_DEFAULT},
        {"[2001:db8::2]:65535", "2001:db8::2", 65535},
        {"FE80::1%Wan0", "fe80::1%Wan0", BR_PORT_DEFAULT},
    };
    static const char *const bad[] = {"",     ":1",     "host:",  "host:0",   "host:65536", "host:1x",
                                      "[::1", "[::1]x", "[::1]:", "a b",      "-oProxy",    "a/b",
                                      "[]:1", "host\n", "::1]:1", "h:123456", "[host]:1",   "[%1]"};
    struct br_address address;
    char text[BR_ADDRESS_TEXT_BYTES];

    for (size_t i = 0; i < BR_ARRAY_LEN(good); i++) {
        assert_int_equal(br_address_parse(good[i].text, &address, NULL), 0);
        assert_string_equal(address.host, good[i].host);
        assert_int_equal(address.port, good[i].port);
        struct br_address again;
        br_address_text(&address, text);
        assert_int_equal(br_address_parse(text, &again, NULL), 0);
        assert_string_equal(again.host, address.host);
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(bad); i++) {
        struct br_err err = {0};
        if (br_address_parse(bad[i], &address, &err) != -BR_E_USAGE) {
            fail_msg("taken: '%s'", bad[i]);
        }
    }
    assert_int_equal(br_address_parse_listen("*:0", &address, NULL), 0);
    assert_string_equal(address.host, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_every_size_come_back),
        cmocka_unit_test(many_messages_stay_in_order_with_queues_full_both_ways),
        cmocka_unit_test(a_server_with_another_key_is_refused_and_both_keys_are_named),
        cmocka_unit_test(a_client_that_is_turned_away_is_told_why),
        cmocka_unit_test(a_server_that_never_welcomes_is_given_up),
        cmocka_unit_test(nobody_there_is_said_within_the_time),
        cmocka_unit_test(garbage_instead_of_tls_is_refused),
        cmocka_unit_test(a_peer_that_never_finishes_the_handshake_is_cut_off_in_time),
        cmocka_unit_test(an_older_tls_is_refused),
        cmocka_unit_test(another_protocol_version_is_refused_as_such),
        cmocka_unit_test(a_client_without_a_key_is_refused),
        cmocka_unit_test(a_frame_longer_than_allowed_is_refused_by_its_word_alone),
        cmocka_unit_test(a_goodbye_ends_the_session_with_its_code),
        cmocka_unit_test(idle_connections_live_on_heartbeats),
        cmocka_unit_test(a_peer_that_the_network_lost_is_noticed_by_both_sides),
        cmocka_unit_test(a_failing_watch_ends_an_idle_session_within_a_second_and_says_why),
        cmocka_unit_test(what_was_said_last_arrives_when_finish_waited),
        cmocka_unit_test(a_rate_limit_holds),
        cmocka_unit_test(a_rate_limit_on_receiving_slows_the_sender_down),
        cmocka_unit_test(both_ends_know_the_same_binding_and_no_two_connections_do),
        cmocka_unit_test(addresses_are_read_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
