// SPDX-License-Identifier: Apache-2.0
#include "tools/trust.h"

#include <unistd.h>

#include "tools/place.h"

int trust_open(struct cli *cli, struct trust *ret_trust, struct br_err *reterr)
{
    struct trust trust = {.state_fd = -1};
    int rc = place_state_dir(cli, "", &trust.state_fd, reterr);

    rc = rc ? rc : br_keys_load(trust.state_fd, true, &trust.keys, reterr);
    if (rc) {
        trust_close(&trust);
        return rc;
    }
    *ret_trust = trust;
    return 0;
}

void trust_close(struct trust *trust)
{
    br_keys_free(trust->keys);
    if (trust->state_fd >= 0) {
        close(trust->state_fd);
    }
    *trust = (struct trust){.state_fd = -1};
}

const char *trust_volumes_text(const char *volumes)
{
    return *volumes ? volumes : "all";
}

json_t *trust_client_json(const struct br_client *client)
{
    char fingerprint[BR_FINGERPRINT_TEXT_BYTES];
    json_t *json = json_object();

    br_fingerprint_text(&client->fingerprint, fingerprint);
    json_object_set_new(json, "fingerprint", json_string(fingerprint));
    json_object_set_new(json, "name", cli_json_text(client->name));
    json_object_set_new(json, "role", json_string(br_role_text(client->role)));
    json_object_set_new(json, "volumes", json_string(client->volumes));
    return json;
}
