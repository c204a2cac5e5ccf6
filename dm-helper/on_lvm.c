// SPDX-License-Identifier: Apache-2.0
//
// LVM requests: which logical volumes and groups a volume gives, and what LVM's answers mean.
#include <ctype.h>
#include <stdio.h>

#include "dm-helper/device.h"
#include "dm-helper/lvm_runner.h"
#include "dm-helper/renew.h"
#include "dm-helper/server.h"

// The volume group that a request may use: the one it names, if a registration gives it, or the one of "@device".
static int dmh_lvm_group(const struct dmh_volume *volume, const char *wanted, char vg[DMH_DM_NAME_MAX],
                         struct br_err *reterr)
{
    dmh_device_vg(volume, vg);
    if (!*wanted || !strcmp(wanted, vg)) {
        return *vg ? 0
                   : br_err_set(reterr, BR_E_USAGE, "volume %s: its device is not a logical volume", volume->volume);
    }
    for (uint32_t i = 0; i < volume->place_count; i++) {
        if (volume->places[i].kind == DMH_PLACE_VG && !strcmp(volume->places[i].path, wanted)) {
            snprintf(vg, DMH_DM_NAME_MAX, "%s", wanted);
            return 0;
        }
    }
    return br_err_set(reterr, BR_E_PERMISSION, "volume %s does not name the volume group %s", volume->volume, wanted);
}

// The last line that LVM printed, which is what failed.
static void dmh_last_line(const char *output, char *text, size_t size)
{
    size_t len = strlen(output);

    while (len && isspace((unsigned char)output[len - 1])) {
        len--;
    }
    size_t from = len;
    while (from && output[from - 1] != '\n') {
        from--;
    }
    while (from < len && isspace((unsigned char)output[from])) {
        from++;
    }
    snprintf(text, size, "%.*s", (int)BR_MIN(len - from, size - 1), output + from);
}

static const struct {
    const char *words;
    int code;
} dmh_lvm_errors[] = {
    {"nsufficient free space", BR_E_NO_SPACE},
    {"nsufficient free extents", BR_E_NO_SPACE},
    {"nsufficient suitable", BR_E_NO_SPACE},
    {"free space in pool", BR_E_NO_SPACE},
    {"already exists", BR_E_BUSY},
    {"in use", BR_E_BUSY},
    {"Failed to find", BR_E_NOT_FOUND},
    {"not found", BR_E_NOT_FOUND},
    {"One or more specified logical volume(s) not found", BR_E_NOT_FOUND},
};

static int dmh_lvm_error(const struct dmh_lvm_call *call, const struct dmh_lvm_answer *answer, struct br_err *reterr)
{
    char line[256];

    if (answer->error == -BR_E_UNSUPPORTED) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "LVM is not installed (/usr/sbin/lvm)");
    }
    if (answer->error == -BR_E_BUSY) {
        return br_err_set(reterr, BR_E_BUSY, "LVM has not ended after %d s and is left to go on",
                          DMH_LVM_TIMEOUT_MS / 1000);
    }
    if (answer->error) {
        return br_err_set(reterr, -answer->error, "running LVM on %s/%s", call->vg, call->lv);
    }
    dmh_last_line(answer->output, line, sizeof(line));
    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_lvm_errors); i++) {
        if (strstr(answer->output, dmh_lvm_errors[i].words)) {
            return br_err_set(reterr, dmh_lvm_errors[i].code, "LVM on %s: %s", call->vg, line);
        }
    }
    return br_err_set(reterr, BR_E_IO, "LVM on %s ended with status %d: %s", call->vg, answer->exit_status, line);
}

static int dmh_lvm_call_runner(struct dmh_server *server, const struct dmh_lvm_call *call,
                               struct dmh_lvm_answer *answer, struct br_err *reterr)
{
    int error = dmh_lvm_ask(server->lvm_fd, call, answer, reterr);

    if (error) {
        return error;
    }
    return answer->error || answer->exit_status ? dmh_lvm_error(call, answer, reterr) : 0;
}

int dmh_on_lvm_report(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_lvm_report *report = turn->request;
    struct dmh_lvm_json *json = turn->reply;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    BR_AUTO_FREE struct dmh_lvm_answer *answer = malloc(sizeof(*answer));
    struct dmh_lvm_call call = {.verb = report->kind == DMH_LVM_LVS ? DMH_LVM_RUN_LVS : DMH_LVM_RUN_VGS};

    if (!answer) {
        return br_err_set(reterr, BR_E_NOMEM, "asking LVM");
    }
    if (report->kind != DMH_LVM_LVS && report->kind != DMH_LVM_VGS) {
        return br_err_set(reterr, BR_E_USAGE, "LVM report %u is not known", report->kind);
    }
    int error = dmh_hold_volume(&turn->server->registry, report->volume, false, &held, reterr);
    error = error ? error : dmh_lvm_group(held.volume, report->vg, call.vg, reterr);
    error = error ? error : dmh_lvm_call_runner(turn->server, &call, answer, reterr);
    if (!error && strlen(answer->output) + 1 >= sizeof(json->json)) {
        error = br_err_set(reterr, BR_E_LIMIT, "LVM's report on %s is longer than %d bytes", call.vg, DMH_LVM_JSON_MAX);
    }
    if (!error) {
        memcpy(json->json, answer->output, strlen(answer->output) + 1);
    }
    return error;
}

// LVM suspends the origin of a snapshot. If it died there, nobody else would resume it.
static void dmh_lvm_leave_active(const struct dmh_volume *volume)
{
    static const char *const touched[] = {"@device", "@pool"};

    for (size_t i = 0; i < BR_ARRAY_LEN(touched); i++) {
        struct dmh_info info;
        struct dmh_dm dm;
        if (!dmh_device_resolve_dm(volume, touched[i], DMH_WHERE_DEVICE | DMH_WHERE_POOL, &dm, &info, NULL) &&
            info.suspended) {
            (void)!dmh_dm_resume(&dm, DMH_EVENT_WHOLE, NULL);
        }
    }
}

// LVM prints the tags of one LV as "  tag,tag".
static bool dmh_has_tag(char *output)
{
    char *save = NULL;

    for (char *tag = strtok_r(output, " ,\n", &save); tag; tag = strtok_r(NULL, " ,\n", &save)) {
        if (!strcmp(tag, DMH_LVM_TAG)) {
            return true;
        }
    }
    return false;
}

// A command that changes something; @tagged: only if the LV carries blkrep's tag.
static int dmh_lvm_change_run(struct dmh_server *server, const struct dmh_volume *volume, struct dmh_lvm_call *call,
                              bool tagged, struct dmh_lvm_answer *answer, struct br_err *reterr)
{
    struct dmh_lvm_call ask = *call;
    int error = 0;

    if (tagged) {
        ask.verb = DMH_LVM_RUN_TAGS;
        error = dmh_lvm_call_runner(server, &ask, answer, reterr);
        if (!error && !dmh_has_tag(answer->output)) {
            error = br_err_set(reterr, BR_E_REFUSED, "%s/%s does not carry the tag %s: blkrep did not make it",
                               call->vg, call->lv, DMH_LVM_TAG);
        }
    }
    if (error) {
        return error;
    }
    error = dmh_lvm_call_runner(server, call, answer, reterr);
    if (answer->error != -BR_E_BUSY) {
        dmh_lvm_leave_active(volume);
    }
    return error;
}

// Fills in group and name of a request for one of the volume's own LVs.
static int dmh_lvm_target(const struct dmh_volume *volume, const char *vg, const char *part, struct dmh_lvm_call *call,
                          struct br_err *reterr)
{
    int error = dmh_lvm_group(volume, vg, call->vg, reterr);

    if (!error && !dmh_part_ok(part)) {
        error = br_err_set(reterr, BR_E_USAGE, "volume %s: a part is up to %d small letters, digits, . and -",
                           volume->volume, DMH_PART_MAX - 1);
    }
    if (!error) {
        dmh_lv_name_of(volume, part, call->lv);
    }
    return error;
}

// The LV that the volume's device is.
static int dmh_lvm_origin(const struct dmh_volume *volume, struct dmh_lvm_call *call, struct br_err *reterr)
{
    struct dmh_dm dm;
    char vg[DMH_DM_NAME_MAX];
    int error = dmh_device_resolve_dm(volume, "@device", DMH_WHERE_DEVICE, &dm, NULL, reterr);

    if (error) {
        return error;
    }
    dmh_dm_lv_of(&dm, vg, call->origin);
    if (!*call->origin || strcmp(vg, call->vg) != 0) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s: its device is no logical volume of group %s", volume->volume,
                          call->vg);
    }
    return 0;
}

int dmh_on_lvm_create(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_lvm_create *create = turn->request;
    static const uint32_t verbs[] = {[DMH_LVM_LINEAR] = DMH_LVM_RUN_CREATE,
                                     [DMH_LVM_SNAPSHOT] = DMH_LVM_RUN_SNAPSHOT,
                                     [DMH_LVM_THIN_SNAPSHOT] = DMH_LVM_RUN_THIN_SNAPSHOT};
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    BR_AUTO_FREE struct dmh_lvm_answer *answer = malloc(sizeof(*answer));
    struct dmh_lvm_call call = {.size_bytes = create->size_bytes};

    if (!answer) {
        return br_err_set(reterr, BR_E_NOMEM, "asking LVM");
    }
    if (create->kind < DMH_LVM_LINEAR || create->kind > DMH_LVM_THIN_SNAPSHOT) {
        return br_err_set(reterr, BR_E_USAGE, "logical volume kind %u is not known", create->kind);
    }
    if ((create->kind == DMH_LVM_THIN_SNAPSHOT) != !create->size_bytes) {
        return br_err_set(reterr, BR_E_USAGE, "a thin snapshot has no size of its own, other logical volumes need one");
    }
    call.verb = verbs[create->kind];
    int error = dmh_hold_volume(&turn->server->registry, create->volume, true, &held, reterr);
    error = error ? error : dmh_lvm_target(held.volume, create->vg, create->part, &call, reterr);
    if (!error && create->kind != DMH_LVM_LINEAR) {
        error = dmh_lvm_origin(held.volume, &call, reterr);
    }
    return error ? error : dmh_lvm_change_run(turn->server, held.volume, &call, false, answer, reterr);
}

static int dmh_lvm_change_one(struct dmh_turn *turn, uint32_t verb, struct br_err *reterr)
{
    const struct dmh_lvm_change *change = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    BR_AUTO_FREE struct dmh_lvm_answer *answer = malloc(sizeof(*answer));
    struct dmh_lvm_call call = {.verb = verb, .size_bytes = change->size_bytes};

    if (!answer) {
        return br_err_set(reterr, BR_E_NOMEM, "asking LVM");
    }
    int error = dmh_hold_volume(&turn->server->registry, change->volume, true, &held, reterr);
    error = error ? error : dmh_lvm_target(held.volume, change->vg, change->part, &call, reterr);
    if (!error && verb == DMH_LVM_RUN_REMOVE) {
        char where[DMH_WHERE_MAX];
        snprintf(where, sizeof(where), "lvm:%s/%s", call.vg, change->part);
        dmh_renew_forget(held.volume, where);
    }
    error = error ? error : dmh_lvm_change_run(turn->server, held.volume, &call, true, answer, reterr);
    bool large_enough =
        error == -BR_E_IO && verb == DMH_LVM_RUN_EXTEND &&
        (strstr(answer->output, "matches existing size") || strstr(answer->output, "not larger than existing"));
    return large_enough ? 0 : error;
}

int dmh_on_lvm_extend(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_lvm_change *change = turn->request;

    if (!change->size_bytes) {
        return br_err_set(reterr, BR_E_USAGE, "a logical volume can't be made 0 bytes large");
    }
    return dmh_lvm_change_one(turn, DMH_LVM_RUN_EXTEND, reterr);
}

int dmh_on_lvm_remove(struct dmh_turn *turn, struct br_err *reterr)
{
    return dmh_lvm_change_one(turn, DMH_LVM_RUN_REMOVE, reterr);
}

int dmh_on_lvm_activate(struct dmh_turn *turn, struct br_err *reterr)
{
    return dmh_lvm_change_one(turn, DMH_LVM_RUN_ACTIVATE, reterr);
}

int dmh_lvm_activate_lv(struct dmh_server *server, const char *vg, const char *lv, struct br_err *reterr)
{
    BR_AUTO_FREE struct dmh_lvm_answer *answer = malloc(sizeof(*answer));
    struct dmh_lvm_call call = {.verb = DMH_LVM_RUN_ACTIVATE};

    if (!answer) {
        return br_err_set(reterr, BR_E_NOMEM, "asking LVM");
    }
    snprintf(call.vg, sizeof(call.vg), "%s", vg);
    snprintf(call.lv, sizeof(call.lv), "%s", lv);
    return dmh_lvm_call_runner(server, &call, answer, reterr);
}
