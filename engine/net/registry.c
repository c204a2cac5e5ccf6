// SPDX-License-Identifier: Apache-2.0
#include "engine/net/registry.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/net/base32.h"
#include "engine/net/trust_file.h"

#define BR_LINE_BYTES_MAX (8u * 1024u)
#define BR_FIELDS_MAX     12

// Names ---------------------------------------------------------------------------------------------------------------------

static const char *const br_role_names[] = {"none", "reader", "writer", "operator", "admin"};

const char *br_role_text(enum br_role role)
{
    return (size_t)role < BR_ARRAY_LEN(br_role_names) ? br_role_names[role] : br_role_names[0];
}

enum br_role br_role_parse(const char *text)
{
    for (size_t role = BR_ROLE_READER; role < BR_ARRAY_LEN(br_role_names); role++) {
        if (!strcmp(text, br_role_names[role])) {
            return (enum br_role)role;
        }
    }
    return BR_ROLE_NONE;
}

static bool br_volume_span_ok(const char *name, size_t len)
{
    if (!len || len >= BR_VOLUME_NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && !(i && (c == '_' || c == '-'))) {
            return false;
        }
    }
    return true;
}

bool br_volume_name_ok(const char *name)
{
    return br_volume_span_ok(name, strlen(name));
}

bool br_volume_list_ok(const char *list)
{
    if (strlen(list) >= BR_VOLUME_LIST_BYTES) {
        return false;
    }
    while (*list) {
        size_t len = strcspn(list, ",");
        if (!br_volume_span_ok(list, len) || (list[len] && !list[len + 1])) {
            return false;
        }
        list += len + (list[len] != '\0');
    }
    return true;
}

bool br_client_may(const struct br_client *client, enum br_role role, const char *volume)
{
    const char *list = client->volumes;
    size_t wanted = strlen(volume);

    if (client->role < role || !br_volume_name_ok(volume)) {
        return false;
    }
    if (!*list) {
        return true;
    }
    while (*list) {
        size_t len = strcspn(list, ",");
        if (len == wanted && !memcmp(list, volume, len)) {
            return true;
        }
        list += len + (list[len] != '\0');
    }
    return false;
}

// Time ----------------------------------------------------------------------------------------------------------------------

void br_moment_now(struct br_moment *ret_moment)
{
    struct timespec wall, booted;
    char text[BR_UUID_TEXT_BYTES] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    *ret_moment = (struct br_moment){0};
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &booted);
    ret_moment->unix_s = wall.tv_sec > 0 ? (uint64_t)wall.tv_sec : 0;
    ret_moment->booted_s = (uint64_t)booted.tv_sec;
    if (fd >= 0) {
        ssize_t got = read(fd, text, BR_UUID_TEXT_BYTES - 1);
        if (got != BR_UUID_TEXT_BYTES - 1 || !br_uuid_parse(text, &ret_moment->boot)) {
            ret_moment->boot = (struct br_uuid){{0}};
        }
        close(fd);
    }
}

bool br_token_expired(const struct br_token *token, const struct br_moment *now)
{
    bool same_boot = !br_uuid_is_nil(&now->boot) && br_uuid_equal(&now->boot, &token->created.boot);
    uint64_t from = same_boot ? token->created.booted_s : token->created.unix_s;
    uint64_t to = same_boot ? now->booted_s : now->unix_s;

    return to < from || to - from >= token->lifetime_s;
}

// Lines ---------------------------------------------------------------------------------------------------------------------

static bool br_plain(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("._,:-", c));
}

static void br_put_field(struct br_buf *content, const char *key, const char *value)
{
    br_buf_printf(content, " %s=", key);
    for (; *value; value++) {
        if (br_plain(*value)) {
            br_buf_u8(content, (uint8_t)*value);
        } else {
            br_buf_printf(content, "%%%02X", (unsigned char)*value);
        }
    }
}

static void br_put_number(struct br_buf *content, const char *key, uint64_t value)
{
    br_buf_printf(content, " %s=%llu", key, (unsigned long long)value);
}

struct br_line {
    char text[BR_LINE_BYTES_MAX]; // cut into words
    const char *kind, *id;
    const char *keys[BR_FIELDS_MAX], *values[BR_FIELDS_MAX];
    unsigned count;
    unsigned used; // fields asked for
    bool bad;      // something was not there or not readable
};

// Decodes %XX in place. False on a bad escape or a zero byte.
static bool br_unescape(char *text)
{
    char *to = text;

    for (; *text; text++) {
        if (*text == '%') {
            char hex[3] = {text[1], text[1] ? text[2] : '\0', '\0'};
            if (!isxdigit((unsigned char)hex[0]) || !isxdigit((unsigned char)hex[1]) || !strcmp(hex, "00")) {
                return false;
            }
            *to++ = (char)strtoul(hex, NULL, 16);
            text += 2;
        } else if (br_plain(*text)) {
            *to++ = *text;
        } else {
            return false;
        }
    }
    *to = '\0';
    return true;
}

static bool br_line_split(struct br_line *line, const char *from, size_t len)
{
    char *rest = line->text, *word;

    *line = (struct br_line){0};
    if (len >= sizeof(line->text) || memchr(from, '\0', len)) {
        return false;
    }
    memcpy(line->text, from, len);
    line->kind = strsep(&rest, " ");
    line->id = rest ? strsep(&rest, " ") : NULL;
    while ((word = strsep(&rest, " "))) {
        char *value = strchr(word, '=');
        if (!value || line->count == BR_FIELDS_MAX) {
            return false;
        }
        *value++ = '\0';
        if (!br_unescape(value)) {
            return false;
        }
        line->keys[line->count] = word;
        line->values[line->count++] = value;
    }
    return line->id != NULL;
}

// The next field, which must be @key: fields have one order, so one registry has one text.
static const char *br_line_field(struct br_line *line, const char *key)
{
    if (line->used >= line->count || strcmp(line->keys[line->used], key) != 0) {
        line->bad = true;
        return "";
    }
    return line->values[line->used++];
}

static uint64_t br_line_number(struct br_line *line, const char *key, uint64_t most)
{
    const char *text = br_line_field(line, key);
    uint64_t value = 0;

    line->bad |= !*text || (text[0] == '0' && text[1]);
    for (; *text; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (*text < '0' || *text > '9' || !br_mul_u64(value, 10, &value) || !br_add_u64(value, digit, &value) ||
            value > most) {
            line->bad = true;
            return 0;
        }
    }
    return value;
}

static void br_line_string(struct br_line *line, const char *key, char *to, size_t to_size)
{
    const char *text = br_line_field(line, key);

    if (strlen(text) >= to_size) {
        line->bad = true;
        return;
    }
    memcpy(to, text, strlen(text) + 1);
}

static bool br_line_done(const struct br_line *line)
{
    return !line->bad && line->used == line->count;
}

// Calls @take for each line after the first, which must be @head.
static int br_lines_parse(const void *bytes, size_t len, const char *file, const char *head,
                          bool (*take)(struct br_line *line, void *ctx), void *ctx, struct br_err *reterr)
{
    const char *at = bytes, *end = len ? at + len : at;
    struct br_line *line = malloc(sizeof(*line));
    unsigned number = 0;
    int rc = line ? 0 : br_err_set(reterr, BR_E_NOMEM, "reading %s", file);

    while (!rc && (at < end || !number)) {
        const char *stop = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        bool ok = stop;
        number++;
        if (ok && number == 1) {
            ok = (size_t)(stop - at) == strlen(head) && !memcmp(at, head, strlen(head));
        } else if (ok) {
            ok = br_line_split(line, at, (size_t)(stop - at)) && take(line, ctx);
        }
        if (!ok) {
            rc = br_err_set(reterr, BR_E_CORRUPT,
                            "line %u of %s in the state folder can't be read; repair or remove it", number, file);
        }
        at = stop ? stop + 1 : end;
    }
    free(line);
    return rc;
}

// A table that is grown to twice its count whenever that is a power of two, so it also has room after entries were dropped. NULL when
// it has @most entries or memory is short.
static void *br_table_add(void *table, unsigned *count, unsigned most, size_t entry_bytes)
{
    char **entries = table;

    if (*count >= most) {
        return NULL;
    }
    if ((*count & (*count - 1)) == 0) {
        char *grown = realloc(*entries, entry_bytes * (*count ? 2u * *count : 1u));
        if (!grown) {
            return NULL;
        }
        *entries = grown;
    }
    char *entry = *entries + entry_bytes * (*count)++;
    memset(entry, 0, entry_bytes);
    return entry;
}

// Clients and tokens --------------------------------------------------------------------------------------------------------

static bool br_registry_read_client(struct br_line *line, struct br_registry *registry)
{
    struct br_client client = {0};

    if (!br_fingerprint_parse(line->id, &client.fingerprint) || br_registry_client(registry, &client.fingerprint)) {
        return false;
    }
    client.role = br_role_parse(br_line_field(line, "role"));
    client.created_unix_s = br_line_number(line, "created", UINT64_MAX);
    br_line_string(line, "volumes", client.volumes, sizeof(client.volumes));
    br_line_string(line, "name", client.name, sizeof(client.name));
    if (!br_line_done(line) || !client.role || !br_volume_list_ok(client.volumes)) {
        return false;
    }
    return !br_registry_put_client(registry, &client, NULL);
}

static bool br_registry_read_token(struct br_line *line, struct br_registry *registry)
{
    struct br_token token = {0};

    if (!br_base32_parse(line->id, strlen(line->id), token.id, sizeof(token.id)) ||
        br_registry_token(registry, token.id)) {
        return false;
    }
    token.role = br_role_parse(br_line_field(line, "role"));
    token.created.unix_s = br_line_number(line, "created", UINT64_MAX);
    token.lifetime_s = br_line_number(line, "lifetime", UINT64_MAX);
    bool ok = br_uuid_parse(br_line_field(line, "boot"), &token.created.boot);
    token.created.booted_s = br_line_number(line, "booted", UINT64_MAX);
    token.used = br_line_number(line, "used", 1);
    token.failures = (unsigned)br_line_number(line, "failures", UINT16_MAX);
    br_line_string(line, "volumes", token.volumes, sizeof(token.volumes));
    const char *verifier = br_line_field(line, "verifier");
    ok = ok && br_base32_parse(verifier, strlen(verifier), token.verifier, sizeof(token.verifier));
    if (!ok || !br_line_done(line) || !token.role || !br_volume_list_ok(token.volumes)) {
        return false;
    }
    struct br_token *entry = br_table_add(&registry->tokens, &registry->token_count, BR_TOKENS_MAX, sizeof(token));
    if (entry) {
        *entry = token;
    }
    return entry != NULL;
}

static bool br_registry_read_line(struct br_line *line, void *ctx)
{
    return !strcmp(line->kind, "client")  ? br_registry_read_client(line, ctx)
           : !strcmp(line->kind, "token") ? br_registry_read_token(line, ctx)
                                          : false;
}

int br_registry_parse(const void *bytes, size_t len, struct br_registry *ret_registry, struct br_err *reterr)
{
    struct br_registry registry = {0};
    int rc = br_lines_parse(bytes, len, BR_CLIENTS_FILE, "blkrep-clients 1", br_registry_read_line, &registry, reterr);

    if (rc) {
        br_registry_free(&registry);
        return rc;
    }
    *ret_registry = registry;
    return 0;
}

void br_registry_encode(const struct br_registry *registry, struct br_buf *content)
{
    char text[128];

    br_buf_printf(content, "blkrep-clients 1\n");
    for (unsigned i = 0; i < registry->client_count; i++) {
        const struct br_client *client = &registry->clients[i];
        br_fingerprint_text(&client->fingerprint, text);
        br_buf_printf(content, "client %s role=%s", text, br_role_text(client->role));
        br_put_number(content, "created", client->created_unix_s);
        br_put_field(content, "volumes", client->volumes);
        br_put_field(content, "name", client->name);
        br_buf_u8(content, '\n');
    }
    for (unsigned i = 0; i < registry->token_count; i++) {
        const struct br_token *token = &registry->tokens[i];
        br_base32_text(token->id, sizeof(token->id), text);
        br_buf_printf(content, "token %s role=%s", text, br_role_text(token->role));
        br_put_number(content, "created", token->created.unix_s);
        br_put_number(content, "lifetime", token->lifetime_s);
        br_uuid_text(&token->created.boot, text);
        br_put_field(content, "boot", text);
        br_put_number(content, "booted", token->created.booted_s);
        br_put_number(content, "used", token->used);
        br_put_number(content, "failures", token->failures);
        br_put_field(content, "volumes", token->volumes);
        br_base32_text(token->verifier, sizeof(token->verifier), text);
        br_put_field(content, "verifier", text);
        br_buf_u8(content, '\n');
    }
}

void br_registry_free(struct br_registry *registry)
{
    free(registry->clients);
    free(registry->tokens);
    *registry = (struct br_registry){0};
}

int br_registry_load(int state_fd, struct br_registry *ret_registry, struct br_err *reterr)
{
    struct br_buf content = {0};
    int rc = br_trust_read(state_fd, BR_CLIENTS_FILE, true, &content, reterr);

    if (rc == -BR_E_NOT_FOUND) {
        *ret_registry = (struct br_registry){0};
        rc = 0;
    } else if (!rc) {
        rc = br_registry_parse(content.data, content.len, ret_registry, reterr);
    }
    br_buf_free(&content);
    return rc;
}

struct br_client *br_registry_client(struct br_registry *registry, const struct br_fingerprint *fingerprint)
{
    for (unsigned i = 0; i < registry->client_count; i++) {
        if (br_fingerprint_equal(&registry->clients[i].fingerprint, fingerprint)) {
            return &registry->clients[i];
        }
    }
    return NULL;
}

struct br_token *br_registry_token(struct br_registry *registry, const uint8_t id[BR_TOKEN_ID_BYTES])
{
    for (unsigned i = 0; i < registry->token_count; i++) {
        if (!memcmp(registry->tokens[i].id, id, BR_TOKEN_ID_BYTES)) {
            return &registry->tokens[i];
        }
    }
    return NULL;
}

int br_registry_put_client(struct br_registry *registry, const struct br_client *client, struct br_err *reterr)
{
    struct br_client *entry = br_registry_client(registry, &client->fingerprint);

    entry = entry ? entry : br_table_add(&registry->clients, &registry->client_count, BR_CLIENTS_MAX, sizeof(*client));
    if (!entry) {
        return br_err_set(reterr, BR_E_LIMIT, "%u clients are paired with this server; revoke some",
                          registry->client_count);
    }
    *entry = *client;
    return 0;
}

int br_registry_put_token(struct br_registry *registry, const struct br_token *token, struct br_err *reterr)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < registry->token_count; i++) {
        if (!br_token_expired(&registry->tokens[i], &token->created)) {
            registry->tokens[kept++] = registry->tokens[i];
        }
    }
    registry->token_count = kept;
    struct br_token *entry = br_table_add(&registry->tokens, &registry->token_count, BR_TOKENS_MAX, sizeof(*token));
    if (!entry) {
        return br_err_set(reterr, BR_E_LIMIT, "%u tokens are waiting to be used; let some expire",
                          registry->token_count);
    }
    *entry = *token;
    return 0;
}

bool br_registry_drop_client(struct br_registry *registry, const struct br_fingerprint *fingerprint)
{
    struct br_client *entry = br_registry_client(registry, fingerprint);

    if (!entry) {
        return false;
    }
    size_t behind = registry->client_count - (size_t)(entry - registry->clients) - 1;
    memmove(entry, entry + 1, behind * sizeof(*entry));
    registry->client_count--;
    return true;
}

int br_registry_change(int state_fd, br_registry_change_fn *change, void *ctx, struct br_err *reterr)
{
    struct br_registry registry = {0};
    struct br_buf content = {0};
    int lock_fd, rc = br_trust_lock(state_fd, BR_CLIENTS_FILE ".lock", &lock_fd, reterr);

    if (rc) {
        return rc;
    }
    rc = br_registry_load(state_fd, &registry, reterr);
    if (!rc) {
        rc = change(ctx, &registry, reterr);
    }
    if (rc >= 0) {
        br_registry_encode(&registry, &content);
        int failed = br_buf_failed(&content)
                         ? br_err_set(reterr, BR_E_NOMEM, "the registry of clients")
                         : br_trust_write(state_fd, BR_CLIENTS_FILE, content.data, content.len, reterr);
        rc = failed ? failed : rc;
    }
    br_buf_free(&content);
    br_registry_free(&registry);
    close(lock_fd);
    return rc;
}

// Servers -------------------------------------------------------------------------------------------------------------------

static bool br_servers_same(const struct br_address *a, const struct br_address *b)
{
    return a->port == b->port && !strcmp(a->host, b->host);
}

static bool br_servers_read_line(struct br_line *line, void *ctx)
{
    struct br_servers *servers = ctx;
    struct br_server server = {0};
    struct br_address read;

    if (strcmp(line->kind, "server") != 0 || !br_fingerprint_parse(line->id, &server.fingerprint)) {
        return false;
    }
    br_line_string(line, "host", server.address.host, sizeof(server.address.host));
    server.address.port = (uint16_t)br_line_number(line, "port", UINT16_MAX);
    server.created_unix_s = br_line_number(line, "created", UINT64_MAX);
    char text[BR_ADDRESS_TEXT_BYTES];
    br_address_text(&server.address, text);
    if (!br_line_done(line) || br_address_parse(text, &read, NULL) || !br_servers_same(&read, &server.address)) {
        return false;
    }
    for (unsigned i = 0; i < servers->count; i++) {
        if (br_servers_same(&servers->list[i].address, &server.address)) {
            return false;
        }
    }
    struct br_server *entry = br_table_add(&servers->list, &servers->count, BR_SERVERS_MAX, sizeof(server));
    if (entry) {
        *entry = server;
    }
    return entry != NULL;
}

int br_servers_parse(const void *bytes, size_t len, struct br_servers *ret_servers, struct br_err *reterr)
{
    struct br_servers servers = {0};
    int rc = br_lines_parse(bytes, len, BR_SERVERS_FILE, "blkrep-servers 1", br_servers_read_line, &servers, reterr);

    if (rc) {
        br_servers_free(&servers);
        return rc;
    }
    *ret_servers = servers;
    return 0;
}

void br_servers_encode(const struct br_servers *servers, struct br_buf *content)
{
    char text[BR_FINGERPRINT_TEXT_BYTES];

    br_buf_printf(content, "blkrep-servers 1\n");
    for (unsigned i = 0; i < servers->count; i++) {
        br_fingerprint_text(&servers->list[i].fingerprint, text);
        br_buf_printf(content, "server %s", text);
        br_put_field(content, "host", servers->list[i].address.host);
        br_put_number(content, "port", servers->list[i].address.port);
        br_put_number(content, "created", servers->list[i].created_unix_s);
        br_buf_u8(content, '\n');
    }
}

void br_servers_free(struct br_servers *servers)
{
    free(servers->list);
    *servers = (struct br_servers){0};
}

int br_servers_load(int state_fd, struct br_servers *ret_servers, struct br_err *reterr)
{
    struct br_buf content = {0};
    int rc = br_trust_read(state_fd, BR_SERVERS_FILE, true, &content, reterr);

    if (rc == -BR_E_NOT_FOUND) {
        *ret_servers = (struct br_servers){0};
        rc = 0;
    } else if (!rc) {
        rc = br_servers_parse(content.data, content.len, ret_servers, reterr);
    }
    br_buf_free(&content);
    return rc;
}

int br_servers_find(int state_fd, const struct br_address *address, struct br_server *ret_server, struct br_err *reterr)
{
    struct br_servers servers = {0};
    char text[BR_ADDRESS_TEXT_BYTES];
    int rc = br_servers_load(state_fd, &servers, reterr);

    if (rc) {
        return rc;
    }
    br_address_text(address, text);
    rc = br_err_set(reterr, BR_E_AUTH,
                    "this host has not paired with %s: run `blkrep token create` there, then `blkrep pair %s` here",
                    text, text);
    for (unsigned i = 0; i < servers.count && rc; i++) {
        if (br_servers_same(&servers.list[i].address, address)) {
            *ret_server = servers.list[i];
            rc = 0;
        }
    }
    br_servers_free(&servers);
    return rc;
}

int br_servers_keep(int state_fd, const struct br_server *server, struct br_err *reterr)
{
    struct br_servers servers = {0};
    struct br_buf content = {0};
    struct br_server *entry = NULL;
    int lock_fd, rc = br_trust_lock(state_fd, BR_SERVERS_FILE ".lock", &lock_fd, reterr);

    if (rc) {
        return rc;
    }
    rc = br_servers_load(state_fd, &servers, reterr);
    for (unsigned i = 0; i < servers.count && !entry; i++) {
        entry = br_servers_same(&servers.list[i].address, &server->address) ? &servers.list[i] : NULL;
    }
    if (!rc && !entry) {
        entry = br_table_add(&servers.list, &servers.count, BR_SERVERS_MAX, sizeof(*entry));
    }
    if (!rc && !entry) {
        rc = br_err_set(reterr, BR_E_LIMIT, "%u servers are known already", servers.count);
    }
    if (!rc) {
        *entry = *server;
        br_servers_encode(&servers, &content);
        rc = br_buf_failed(&content) ? br_err_set(reterr, BR_E_NOMEM, "the list of servers")
                                     : br_trust_write(state_fd, BR_SERVERS_FILE, content.data, content.len, reterr);
    }
    br_buf_free(&content);
    br_servers_free(&servers);
    close(lock_fd);
    return rc;
}
