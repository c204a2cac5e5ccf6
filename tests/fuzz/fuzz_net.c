// SPDX-License-Identifier: Apache-2.0
//
// Everything of net/ that reads bytes from outside, or from files that others may have touched: frame words, goodbyes, pairing messages,
// tokens, addresses, the registry and the list of servers. The first byte chooses which; what is accepted must survive being written and
// read again.
#include <assert.h>
#include <stdio.h>

#include "engine/net/pairing.h"

static void fuzz_frame(const uint8_t *data, size_t len)
{
    enum br_frame_kind kind;
    size_t payload;

    if (len >= 4 && !br_frame_parse(br_get_u32(data), &kind, &payload, NULL)) {
        assert(payload <= BR_MESSAGE_BYTES_MAX);
        assert(br_frame_word(kind, payload) == br_get_u32(data));
    }
}

static void fuzz_registry(const uint8_t *data, size_t len)
{
    struct br_registry registry, again;
    struct br_buf first = {0}, second = {0};

    if (br_registry_parse(data, len, &registry, NULL)) {
        return;
    }
    br_registry_encode(&registry, &first);
    int rc = br_registry_parse(first.data, first.len, &again, NULL);
    assert(!rc);
    br_registry_encode(&again, &second);
    assert(first.len == second.len && !memcmp(first.data, second.data, first.len));
    br_registry_free(&registry);
    br_registry_free(&again);
    br_buf_free(&first);
    br_buf_free(&second);
}

static void fuzz_servers(const uint8_t *data, size_t len)
{
    struct br_servers servers, again;
    struct br_buf first = {0};

    if (br_servers_parse(data, len, &servers, NULL)) {
        return;
    }
    br_servers_encode(&servers, &first);
    int rc = br_servers_parse(first.data, first.len, &again, NULL);
    assert(!rc && servers.count == again.count);
    br_servers_free(&servers);
    br_servers_free(&again);
    br_buf_free(&first);
}

static void fuzz_address(const uint8_t *data, size_t len)
{
    char text[600], written[BR_ADDRESS_TEXT_BYTES];
    struct br_address address, again;

    snprintf(text, sizeof(text), "%.*s", (int)len, (const char *)data);
    if (!br_address_parse(text, &address, NULL)) {
        br_address_text(&address, written);
        int rc = br_address_parse(written, &again, NULL);
        assert(!rc && !strcmp(address.host, again.host) && address.port == again.port);
    }
}

static void fuzz_pairing(unsigned which, const uint8_t *data, size_t len)
{
    struct br_pair_request request;
    struct br_client self;
    struct br_token_text token, again;
    struct br_err err;
    char text[BR_TOKEN_TEXT_BYTES];
    int rc;

    if (which == 0) {
        rc = br_pair_request_parse(data, len, &request, &err);
        assert(rc || strlen(request.name) < sizeof(request.name));
    } else if (which == 1) {
        rc = br_pair_reply_parse(data, len, &self, &err);
        assert(rc || br_volume_list_ok(self.volumes));
    } else if (!br_token_text_parse((const char *)data, len, &token, &err)) {
        br_token_text_write(&token, text);
        rc = br_token_text_parse(text, strlen(text), &again, NULL);
        assert(!rc && !memcmp(&token, &again, sizeof(token)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct br_err err;

    if (!len) {
        return 0;
    }
    unsigned which = data[0] % 8;
    data++;
    len--;
    switch (which) {
    case 0: fuzz_frame(data, len); break;
    case 1: assert(br_goodbye_parse(data, len, "peer", &err) < 0); break;
    case 2: fuzz_registry(data, len); break;
    case 3: fuzz_servers(data, len); break;
    case 4: fuzz_address(data, len); break;
    default: fuzz_pairing(which - 5, data, len); break;
    }
    return 0;
}
