// SPDX-License-Identifier: Apache-2.0
#include "tools/remote.h"

#include <unistd.h>

#include "blkrep_version.h"
#include "engine/net/keys.h"
#include "engine/net/registry.h"
#include "engine/net/tls.h"
#include "engine/repo/store_remote.h"
#include "engine/sync/remote.h"

#define REMOTE_LEVEL 1 // of zstd: what keeps up with a fast network

static int remote_connect(struct cli *cli, const struct place_address *address, enum br_tls_protocol protocol,
                          uint64_t bytes_per_second, struct br_tls **ret_tls, struct br_err *reterr)
{
    struct br_tls_options options = {.bytes_per_second = bytes_per_second, .cancel = &cli_cancel};
    struct br_server server;
    struct br_keys *keys = NULL;
    int state_fd;
    int error = place_state_dir(cli, "", &state_fd, reterr);

    if (error) {
        return error;
    }
    error = br_servers_find(state_fd, &address->host, &server, reterr);
    if (!error) {
        error = br_keys_load(state_fd, false, &keys, reterr);
    }
    if (!error) {
        error = br_tls_connect(&address->host, keys, &server.fingerprint, protocol, &options, ret_tls, reterr);
    }
    br_keys_free(keys);
    close(state_fd);
    return error;
}

int remote_open_endpoint(struct cli *cli, struct br_ring *ring, const struct place_address *address,
                         const struct remote_options *options, struct br_endpoint *ret_endpoint, struct br_err *reterr)
{
    const char *compress = options->compress;
    struct br_tls *tls;
    int error = remote_connect(cli, address, BR_TLS_SESSION, options->bytes_per_second, &tls, reterr);

    if (error) {
        return error;
    }
    struct br_remote_params params = {
        .channel = br_tls_channel(tls),
        .ring = ring,
        .volume = address->name,
        .what = address->text,
        .role = (uint8_t)options->role,
        .plan = options->plan,
        .discard_damaged = options->discard_damaged,
        .level = compress && !strcmp(compress, "off") ? 0 : REMOTE_LEVEL,
        .level_if_it_pays = !compress || !strcmp(compress, "auto"),
        .cancel = &cli_cancel,
        .program = "blkrep " BR_VERSION,
    };
    return br_remote_open(&params, ret_endpoint, reterr);
}

int remote_open_store(struct cli *cli, struct br_ring *ring, const struct place_address *address, bool write,
                      struct br_store *ret_store, struct br_err *reterr)
{
    struct br_tls *tls;
    int error = remote_connect(cli, address, BR_TLS_STORE, 0, &tls, reterr);

    if (error) {
        return error;
    }
    const struct br_store_remote_params params = {
        .channel = br_tls_channel(tls),
        .ring = ring,
        .repository = address->name,
        .what = address->text,
        .write = write,
        .cancel = &cli_cancel,
        .program = "blkrep " BR_VERSION,
    };
    return br_store_remote_open(&params, ret_store, reterr);
}
