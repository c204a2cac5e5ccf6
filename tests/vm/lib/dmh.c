// SPDX-License-Identifier: Apache-2.0
//
// A client of blkrep-dm-helper for test scripts: each command line is one request over one connection.
//
//     dmh COMMAND ARGUMENT... [-- COMMAND ARGUMENT...]...
//
// A device is VOLUME/WHERE (see dm-helper/request.h). A target is KIND,BYTES[,DEVICE[,STORE]][,offset=N][,grain=N][,id=N][,persistent].
// Results are lines of name=value on stdout; the first request that fails ends the program with its exit status, after `ERRORNAME: text` on
// stderr. `dmh stray` is a client that breaks the protocol. $DMH_HELPER is the helper's program (default: beside this one, else /vm/bin), $DMH_SOCKET a socket to use instead.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "dm-helper/client.h"
#include "dm-helper/process.h"
#include "dm-helper/wire.h"
#include "engine/base/bytes.h"

struct line {
    struct dmh_client *client;
    int count;
    char **words; // after the command
};

static int usage(const char *what)
{
    fprintf(stderr, "USAGE: %s\n", what);
    return -BR_E_USAGE;
}

static const char *word(const struct line *line, int index)
{
    return index < line->count ? line->words[index] : "";
}

static bool has(const struct line *line, const char *option)
{
    for (int i = 0; i < line->count; i++) {
        if (!strcmp(line->words[i], option)) {
            return true;
        }
    }
    return false;
}

// The number behind "name=", or otherwise.
static uint64_t number(const struct line *line, const char *name, uint64_t otherwise)
{
    size_t len = strlen(name);

    for (int i = 0; i < line->count; i++) {
        if (!strncmp(line->words[i], name, len) && line->words[i][len] == '=') {
            return strtoull(line->words[i] + len + 1, NULL, 0);
        }
    }
    return otherwise;
}

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

// VOLUME/WHERE
static struct dmh_ref ref(const char *text)
{
    struct dmh_ref ref = {0};
    const char *slash = strchr(text, '/');

    snprintf(ref.volume, sizeof(ref.volume), "%.*s", slash ? (int)(slash - text) : (int)strlen(text), text);
    copy(ref.where, sizeof(ref.where), slash ? slash + 1 : "");
    return ref;
}

// ---- tables ----------------------------------------------------------------------------------------------------------

static const char *const kinds[] = {"",      "linear", "era",  "snapshot",  "snapshot-origin",
                                    "error", "zero",   "thin", "thin-pool", "other"};

static bool is_target(const char *text)
{
    for (size_t i = 1; i < BR_ARRAY_LEN(kinds); i++) {
        size_t len = strlen(kinds[i]);
        if (!strncmp(text, kinds[i], len) && text[len] == ',') {
            return true;
        }
    }
    return false;
}

static void target(char *text, struct dmh_target *target)
{
    char *save = NULL;
    char *part = strtok_r(text, ",", &save);
    int place = 0;

    for (uint32_t i = 1; i < BR_ARRAY_LEN(kinds); i++) {
        target->kind = !strcmp(part, kinds[i]) ? i : target->kind;
    }
    part = strtok_r(NULL, ",", &save);
    target->length_bytes = strtoull(part, NULL, 0);
    while ((part = strtok_r(NULL, ",", &save))) {
        if (!strncmp(part, "offset=", 7)) {
            target->offset_bytes = strtoull(part + 7, NULL, 0);
        } else if (!strncmp(part, "grain=", 6)) {
            target->grain_bytes = strtoull(part + 6, NULL, 0);
        } else if (!strncmp(part, "id=", 3)) {
            target->thin_id = strtoull(part + 3, NULL, 0);
        } else if (!strcmp(part, "persistent")) {
            target->persistent = true;
        } else if (place++ == 0) {
            copy(target->device, sizeof(target->device), part);
        } else {
            copy(target->store, sizeof(target->store), part);
        }
    }
}

static void table(const struct line *line, struct dmh_table *table)
{
    uint64_t at = 0;

    for (int i = 1; i < line->count; i++) {
        if (is_target(line->words[i])) {
            struct dmh_target *next = &table->targets[table->target_count++];
            target(line->words[i], next);
            next->start_bytes = at;
            at += next->length_bytes;
        }
    }
}

// ---- requests --------------------------------------------------------------------------------------------------------

static int on_hello(struct line *line, struct br_err *err)
{
    const struct dmh_welcome *welcome = dmh_client_welcome(line->client);

    (void)err;
    printf("version=%u pid=%u dm=%u.%u root=%d udev=%d\n", welcome->version, welcome->helper_pid,
           welcome->dm_version[0], welcome->dm_version[1], welcome->peer_is_root, welcome->udev);
    return 0;
}

// register VOLUME UUID DEVICE [device:PATH | file:PATH | vg:NAME]...
static int on_register(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_volume *volume = calloc(1, sizeof(*volume));

    copy(volume->volume, sizeof(volume->volume), word(line, 0));
    copy(volume->uuid, sizeof(volume->uuid), word(line, 1));
    copy(volume->device, sizeof(volume->device), word(line, 2));
    for (int i = 3; i < line->count; i++) {
        const char *colon = strchr(line->words[i], ':');
        struct dmh_place *place = &volume->places[volume->place_count++];
        place->kind = line->words[i][0] == 'd'   ? DMH_PLACE_DEVICE
                      : line->words[i][0] == 'f' ? DMH_PLACE_FILE
                                                 : DMH_PLACE_VG;
        copy(place->path, sizeof(place->path), colon ? colon + 1 : "");
    }
    return dmh_register(line->client, volume, err);
}

static int on_unregister(struct line *line, struct br_err *err)
{
    return dmh_unregister(line->client, word(line, 0), err);
}

static int on_volume(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_volume *volume = calloc(1, sizeof(*volume));
    int error = dmh_volume(line->client, word(line, 0), volume, err);

    if (!error) {
        printf("volume=%s uuid=%s device=%s places=%u\n", volume->volume, volume->uuid, volume->device,
               volume->place_count);
    }
    return error;
}

// create VOLUME/PART [TARGET...] [inactive] [ro]
static int on_create(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_create *create = calloc(1, sizeof(*create));
    struct dmh_created created;

    create->device = ref(word(line, 0));
    create->read_only = has(line, "ro");
    table(line, &create->table);
    create->activate = create->table.target_count && !has(line, "inactive");
    int error = dmh_create(line->client, create, &created, err);
    if (!error) {
        printf("device=%u:%u\n", created.major, created.minor);
    }
    return error;
}

static int on_load(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_load *load = calloc(1, sizeof(*load));

    load->device = ref(word(line, 0));
    load->read_only = has(line, "ro");
    table(line, &load->table);
    return dmh_load(line->client, load, err);
}

// copy-table VOLUME/WHERE TO
static int on_copy_table(struct line *line, struct br_err *err)
{
    struct dmh_copy_table copy_table = {.from = ref(word(line, 0))};

    copy(copy_table.to, sizeof(copy_table.to), word(line, 1));
    return dmh_copy_table(line->client, &copy_table, err);
}

static int on_clear(struct line *line, struct br_err *err)
{
    struct dmh_ref device = ref(word(line, 0));
    return dmh_clear(line->client, &device, err);
}

static int on_resume(struct line *line, struct br_err *err)
{
    struct dmh_ref device = ref(word(line, 0));
    return dmh_resume(line->client, &device, err);
}

// remove VOLUME/PART [retry=MS] [deferred]
static int on_remove(struct line *line, struct br_err *err)
{
    struct dmh_remove request = {.device = ref(word(line, 0)),
                                 .retry_ms = (uint32_t)number(line, "retry", 0),
                                 .deferred = has(line, "deferred")};
    struct dmh_removed removed;
    int error = dmh_remove(line->client, &request, &removed, err);

    if (!error) {
        printf("deferred=%d\n", removed.deferred);
    }
    return error;
}

// message VOLUME/WHERE KIND [id=N] [origin=N]
static int on_message(struct line *line, struct br_err *err)
{
    static const char *const names[] = {"", "checkpoint", "take", "drop", "create", "delete", "reserve", "release"};
    struct dmh_message message = {
        .device = ref(word(line, 0)), .thin_id = number(line, "id", 0), .origin_thin_id = number(line, "origin", 0)};

    for (uint32_t i = 1; i < BR_ARRAY_LEN(names); i++) {
        message.kind = !strcmp(word(line, 1), names[i]) ? i : message.kind;
    }
    return dmh_message(line->client, &message, err);
}

static void print_status(const struct dmh_target_status *s)
{
    printf("kind=%s start=%" PRIu64 " length=%" PRIu64 " parsed=%d failed=%d used=%" PRIu64 " total=%" PRIu64
           " metadata=%" PRIu64 " state=%u era=%" PRIu64 " snap=%d transaction=%" PRIu64 " params=%s\n",
           kinds[s->kind], s->start_bytes, s->length_bytes, s->parsed, s->failed, s->used_bytes, s->total_bytes,
           s->metadata_bytes, s->snapshot_state, s->era, s->has_metadata_snap, s->transaction_id, s->params);
}

static int on_status(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_status *status = calloc(1, sizeof(*status));
    struct dmh_query query = {.device = ref(word(line, 0)), .inactive = has(line, "inactive")};
    int error = dmh_status(line->client, &query, status, err);

    for (uint32_t i = 0; !error && i < status->target_count; i++) {
        print_status(&status->targets[i]);
    }
    return error;
}

static int on_table(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_rows *rows = calloc(1, sizeof(*rows));
    struct dmh_query query = {.device = ref(word(line, 0)), .inactive = has(line, "inactive")};
    int error = dmh_table(line->client, &query, rows, err);

    for (uint32_t i = 0; !error && i < rows->target_count; i++) {
        const struct dmh_target_row *r = &rows->targets[i];
        printf("kind=%s start=%" PRIu64 " length=%" PRIu64 " parsed=%d device=%u:%u store=%u:%u offset=%" PRIu64
               " grain=%" PRIu64 " id=%" PRIu64 " persistent=%d\n",
               kinds[r->kind], r->start_bytes, r->length_bytes, r->parsed, r->device_major, r->device_minor,
               r->store_major, r->store_minor, r->offset_bytes, r->grain_bytes, r->thin_id, r->persistent);
    }
    return error;
}

static void print_info(const struct dmh_info *i)
{
    printf("name=%s uuid=%s volume=%s part=%s device=%u:%u open=%u suspended=%d live=%d inactive=%d ro=%d\n", i->name,
           i->uuid, i->volume, i->part, i->major, i->minor, i->open_count, i->suspended, i->live_table,
           i->inactive_table, i->read_only);
}

static int on_info(struct line *line, struct br_err *err)
{
    struct dmh_ref device = ref(word(line, 0));
    struct dmh_info info;
    int error = dmh_info(line->client, &device, &info, err);

    if (!error) {
        print_info(&info);
    }
    return error;
}

static int on_list(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_listed *listed = calloc(1, sizeof(*listed));
    struct dmh_list list = {.skip = (uint32_t)number(line, "skip", 0)};

    copy(list.volume, sizeof(list.volume), word(line, 0));
    int error = dmh_list(line->client, &list, listed, err);
    for (uint32_t i = 0; !error && i < listed->device_count; i++) {
        print_info(&listed->devices[i]);
    }
    return error;
}

// ---- windows ---------------------------------------------------------------------------------------------------------

// VOLUME/WHERE[,freeze][,noflush][,era=PART]
static void top(char *text, struct dmh_window_top *top)
{
    char *save = NULL;

    top->device = ref(strtok_r(text, ",", &save));
    for (char *part; (part = strtok_r(NULL, ",", &save));) {
        top->freeze |= !strcmp(part, "freeze");
        top->no_flush |= !strcmp(part, "noflush");
        if (!strncmp(part, "era=", 4)) {
            copy(top->checkpoint, sizeof(top->checkpoint), part + 4);
        }
    }
}

static void print_window(const struct dmh_window_done *done)
{
    printf("window_us=%" PRIu64 " sync_rounds=%u sync_us=%" PRIu64 " sync_last_us=%" PRIu64 "\n",
           done->window_ns / 1000, done->sync_rounds, done->sync_ns / 1000, done->sync_last_ns / 1000);
    for (uint32_t i = 0; i < done->top_count; i++) {
        printf("top=%u suspend_us=%" PRIu64 " freeze_us=%" PRIu64 " window_us=%" PRIu64 " mounted=%d era=%" PRIu64 "\n",
               i, done->tops[i].suspend_ns / 1000, done->tops[i].freeze_ns / 1000, done->tops[i].window_ns / 1000,
               done->tops[i].mounted, done->tops[i].era.era);
    }
}

// window top=TOP... [inside=VOLUME/PART[,fresh|,renew]]... [deadline=MS] [sync=MS] [good=MS]
static int on_window(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_window *window = calloc(1, sizeof(*window));
    BR_AUTO_FREE struct dmh_window_done *done = calloc(1, sizeof(*done));

    for (int i = 0; i < line->count; i++) {
        char *text = line->words[i];
        if (!strncmp(text, "top=", 4)) {
            top(text + 4, &window->tops[window->top_count++]);
        } else if (!strncmp(text, "inside=", 7)) {
            struct dmh_window_inside *inside = &window->inside[window->inside_count++];
            char *comma = strchr(text, ',');
            inside->fresh = comma && !strcmp(comma, ",fresh");
            inside->renew = comma && !strcmp(comma, ",renew");
            if (comma) {
                *comma = 0;
            }
            inside->device = ref(text + 7);
        }
    }
    window->deadline_ms = (uint32_t)number(line, "deadline", 10000);
    window->sync_budget_ms = (uint32_t)number(line, "sync", 0);
    window->sync_good_ms = (uint32_t)number(line, "good", 0);
    int error = dmh_window(line->client, window, done, err);
    if (!error) {
        print_window(done);
    }
    return error;
}

// snapshot-remove top=TOP part=VOLUME/PART... [deadline=MS] [retry=MS] [force]
static int on_snapshot_remove(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_snapshot_remove *request = calloc(1, sizeof(*request));
    BR_AUTO_FREE struct dmh_window_done *done = calloc(1, sizeof(*done));

    for (int i = 0; i < line->count; i++) {
        if (!strncmp(line->words[i], "top=", 4)) {
            top(line->words[i] + 4, &request->top);
        } else if (!strncmp(line->words[i], "part=", 5)) {
            request->parts[request->part_count++] = ref(line->words[i] + 5);
        }
    }
    request->deadline_ms = (uint32_t)number(line, "deadline", 10000);
    request->retry_ms = (uint32_t)number(line, "retry", 0);
    request->force = has(line, "force");
    int error = dmh_snapshot_remove(line->client, request, done, err);
    if (!error) {
        print_window(done);
    }
    return error;
}

// freeze VOLUME MOUNT [deadline=MS]
static int on_freeze(struct line *line, struct br_err *err)
{
    struct dmh_freeze freeze = {.deadline_ms = (uint32_t)number(line, "deadline", 10000)};

    copy(freeze.volume, sizeof(freeze.volume), word(line, 0));
    copy(freeze.mount, sizeof(freeze.mount), word(line, 1));
    int error = dmh_freeze(line->client, &freeze, err);
    if (!error) {
        printf("frozen\n");
    }
    return error;
}

static int on_thaw(struct line *line, struct br_err *err)
{
    struct dmh_thawed thawed;
    int error = dmh_thaw(line->client, &thawed, err);

    if (!error) {
        printf("freeze_us=%" PRIu64 " frozen_us=%" PRIu64 "\n", thawed.freeze_ns / 1000, thawed.frozen_ns / 1000);
    }
    return error;
}

// ---- devices, files, LVM ---------------------------------------------------------------------------------------------

// open OWNER/WHERE [replica] [write] [direct]: prints what it is, and its first eight bytes in hex
static int on_open(struct line *line, struct br_err *err)
{
    struct dmh_open request = {.owner = has(line, "replica") ? DMH_OWNER_REPLICA : DMH_OWNER_VOLUME,
                               .device = ref(word(line, 0)),
                               .write = has(line, "write"),
                               .direct = has(line, "direct")};
    struct dmh_opened opened;
    _Alignas(4096) unsigned char bytes[4096] = {0};
    int fd = -1;

    int error = dmh_open(line->client, &request, &fd, &opened, err);
    if (error) {
        return error;
    }
    ssize_t len = pread(fd, bytes, sizeof(bytes), 0);
    printf("size=%" PRIu64 " device=%u:%u sector=%u read=%zd bytes=", opened.size_bytes, opened.major, opened.minor,
           opened.sector_bytes, len);
    for (int i = 0; i < 8; i++) {
        printf("%02x", bytes[i]);
    }
    printf("\n");
    if (has(line, "hold")) {
        pause();
    }
    close(fd);
    return 0;
}

static int on_zero_head(struct line *line, struct br_err *err)
{
    struct dmh_ref device = ref(word(line, 0));
    return dmh_zero_head(line->client, &device, err);
}

// file-make VOLUME/PATH BYTES, where PATH begins with a slash: VOLUME//var/...
static int on_file_make(struct line *line, struct br_err *err)
{
    struct dmh_file_make make = {.file = ref(word(line, 0)), .size_bytes = strtoull(word(line, 1), NULL, 0)};
    return dmh_file_make(line->client, &make, err);
}

// file-map VOLUME/PATH PART
static int on_file_map(struct line *line, struct br_err *err)
{
    struct dmh_file_map map = {.file = ref(word(line, 0))};
    struct dmh_file_mapped mapped;

    copy(map.part, sizeof(map.part), word(line, 1));
    int error = dmh_file_map(line->client, &map, &mapped, err);
    if (!error) {
        printf("device=%u:%u size=%" PRIu64 " inactive=%d\n", mapped.major, mapped.minor, mapped.size_bytes,
               mapped.inactive);
    }
    return error;
}

static int on_file_release(struct line *line, struct br_err *err)
{
    struct dmh_ref file = ref(word(line, 0));
    return dmh_file_release(line->client, &file, has(line, "remove"), err);
}

// lvm-report VOLUME lvs|vgs [VG]
static int on_lvm_report(struct line *line, struct br_err *err)
{
    struct dmh_lvm_report report = {.kind = !strcmp(word(line, 1), "lvs") ? DMH_LVM_LVS : DMH_LVM_VGS};
    BR_AUTO_FREE struct dmh_lvm_json *json = calloc(1, sizeof(*json));

    copy(report.volume, sizeof(report.volume), word(line, 0));
    copy(report.vg, sizeof(report.vg), word(line, 2));
    int error = dmh_lvm_report(line->client, &report, json, err);
    if (!error) {
        printf("%s\n", json->json);
    }
    return error;
}

// lvm-create VOLUME linear|snapshot|thin PART [size=BYTES] [VG]
static int on_lvm_create(struct line *line, struct br_err *err)
{
    struct dmh_lvm_create create = {.kind = word(line, 1)[0] == 'l'   ? DMH_LVM_LINEAR
                                            : word(line, 1)[0] == 's' ? DMH_LVM_SNAPSHOT
                                                                      : DMH_LVM_THIN_SNAPSHOT,
                                    .size_bytes = number(line, "size", 0)};

    copy(create.volume, sizeof(create.volume), word(line, 0));
    copy(create.part, sizeof(create.part), word(line, 2));
    copy(create.vg, sizeof(create.vg), strchr(word(line, 3), '=') ? word(line, 4) : word(line, 3));
    return dmh_lvm_create(line->client, &create, err);
}

// lvm-extend|lvm-remove|lvm-activate VOLUME VG PART [size=BYTES]
static struct dmh_lvm_change change(struct line *line)
{
    struct dmh_lvm_change change = {.size_bytes = number(line, "size", 0)};

    copy(change.volume, sizeof(change.volume), word(line, 0));
    copy(change.vg, sizeof(change.vg), word(line, 1));
    copy(change.part, sizeof(change.part), word(line, 2));
    return change;
}

static int on_lvm_extend(struct line *line, struct br_err *err)
{
    struct dmh_lvm_change request = change(line);
    return dmh_lvm_extend(line->client, &request, err);
}

static int on_lvm_remove(struct line *line, struct br_err *err)
{
    struct dmh_lvm_change request = change(line);
    return dmh_lvm_remove(line->client, &request, err);
}

static int on_lvm_activate(struct line *line, struct br_err *err)
{
    struct dmh_lvm_change request = change(line);
    return dmh_lvm_activate(line->client, &request, err);
}

// ---- NBD -------------------------------------------------------------------------------------------------------------

// The descriptors of a request, from words "socket=PATH" (connected to PATH) and "fd=WHAT": things that are no connected stream sockets, and
// "again", the first one once more.
struct descriptors {
    int fds[DMH_SOCKETS_MAX];
    size_t count;
};

static int connected(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    copy(address.sun_path, sizeof(address.sun_path), path);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
        perror(path);
        close(fd);
        fd = -1;
    }
    return fd;
}

static int listening(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    // Bound to a name of the kernel's choice.
    return bind(fd, (const struct sockaddr *)&address, sizeof(address.sun_family)) || listen(fd, 1) ? -1 : fd;
}

static int odd_descriptor(const char *what, int first)
{
    int pair[2];

    if (!strcmp(what, "file")) {
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    }
    if (!strcmp(what, "again")) {
        return dup(first);
    }
    if (!strcmp(what, "listening")) {
        return listening();
    }
    if (!strcmp(what, "lone") || !strcmp(what, "udp")) {
        return socket(*what == 'l' ? AF_UNIX : AF_INET, *what == 'l' ? SOCK_STREAM : SOCK_DGRAM, 0);
    }
    if (socketpair(AF_UNIX, !strcmp(what, "packets") ? SOCK_SEQPACKET : SOCK_STREAM, 0, pair)) {
        return -1;
    }
    if (!strcmp(what, "left")) {
        close(pair[1]); // the peer has gone
    }
    return pair[0];
}

static void descriptors(const struct line *line, struct descriptors *ret)
{
    *ret = (struct descriptors){0};
    for (int i = 0; i < line->count && ret->count < DMH_SOCKETS_MAX; i++) {
        const char *text = line->words[i];
        if (!strncmp(text, "socket=", 7)) {
            ret->fds[ret->count++] = connected(text + 7);
        } else if (!strncmp(text, "fd=", 3)) {
            ret->fds[ret->count] = odd_descriptor(text + 3, ret->fds[0]);
            ret->count++;
        }
    }
}

static void close_descriptors(const struct descriptors *given)
{
    for (size_t i = 0; i < given->count; i++) {
        close(given->fds[i]);
    }
}

static void print_nbd(const struct dmh_nbd_info *i)
{
    printf("volume=%s part=%s index=%u device=%u:%u size=%" PRIu64 " ro=%d connected=%d used=%d\n", i->volume, i->part,
           i->index, i->major, i->minor, i->size_bytes, i->read_only, i->connected, i->in_use);
}

// nbd-connect VOLUME/nbd:PART size=BYTES [block=N] [timeout=S] [dead=S] [ro] [flush] [fua] [trim] [multi] DESCRIPTOR...
static int on_nbd_connect(struct line *line, struct br_err *err)
{
    struct dmh_nbd_connect request = {.device = ref(word(line, 0)),
                                      .size_bytes = number(line, "size", 0),
                                      .block_bytes = (uint32_t)number(line, "block", 512),
                                      .timeout_s = (uint32_t)number(line, "timeout", 30),
                                      .dead_s = (uint32_t)number(line, "dead", 30),
                                      .read_only = has(line, "ro"),
                                      .flush = has(line, "flush"),
                                      .fua = has(line, "fua"),
                                      .trim = has(line, "trim"),
                                      .multi_conn = has(line, "multi")};
    struct descriptors given;
    struct dmh_nbd_info info;

    descriptors(line, &given);
    int error = dmh_nbd_connect(line->client, &request, given.fds, given.count, &info, err);
    close_descriptors(&given);
    if (!error) {
        print_nbd(&info);
    }
    return error;
}

// nbd-reconnect VOLUME/nbd:PART [retry=MS] DESCRIPTOR...
static int on_nbd_reconnect(struct line *line, struct br_err *err)
{
    struct dmh_nbd_reconnect request = {.device = ref(word(line, 0)), .retry_ms = (uint32_t)number(line, "retry", 0)};
    struct dmh_nbd_reconnected done;
    struct descriptors given;

    descriptors(line, &given);
    int error = dmh_nbd_reconnect(line->client, &request, given.fds, given.count, &done, err);
    close_descriptors(&given);
    if (!error) {
        printf("taken=%u\n", done.taken_count);
    }
    return error;
}

// nbd-disconnect VOLUME/nbd:PART [force]
static int on_nbd_disconnect(struct line *line, struct br_err *err)
{
    struct dmh_nbd_disconnect request = {.device = ref(word(line, 0)), .force = has(line, "force")};
    return dmh_nbd_disconnect(line->client, &request, err);
}

static int on_nbd_status(struct line *line, struct br_err *err)
{
    struct dmh_ref device = ref(word(line, 0));
    struct dmh_nbd_info info;
    int error = dmh_nbd_status(line->client, &device, &info, err);

    if (!error) {
        print_nbd(&info);
    }
    return error;
}

static int on_nbd_list(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_nbd_listed *listed = calloc(1, sizeof(*listed));
    struct dmh_list list = {.skip = (uint32_t)number(line, "skip", 0)};

    copy(list.volume, sizeof(list.volume), word(line, 0));
    int error = dmh_nbd_list(line->client, &list, listed, err);
    for (uint32_t i = 0; !error && i < listed->device_count; i++) {
        print_nbd(&listed->devices[i]);
    }
    return error;
}

// ---- ublk ------------------------------------------------------------------------------------------------------------

static void print_ublk(const struct dmh_ublk_info *i)
{
    static const char *const states[] = {"", "dead", "live", "quiesced", "other"};

    printf("volume=%s part=%s index=%u state=%s device=%u:%u size=%" PRIu64
           " pid=%u queues=%u depth=%u io=%u ro=%d used=%d recovery=%d "
           "reissue=%d copy=%d\n",
           i->volume, i->part, i->index, states[i->state], i->major, i->minor, i->size_bytes, i->server_pid,
           i->queue_count, i->queue_depth, i->io_bytes_max, i->read_only, i->in_use, i->recovery, i->reissue,
           i->user_copy);
}

static const char *text_of(const struct line *line, const char *name)
{
    size_t len = strlen(name);

    for (int i = 0; i < line->count; i++) {
        if (!strncmp(line->words[i], name, len) && line->words[i][len] == '=') {
            return line->words[i] + len + 1;
        }
    }
    return NULL;
}

// With "serve=FILE" [out=FILE] [stall=N] [serving=QUEUES]: ublk_serve as an ordinary user, which gets the descriptor; its process is the last word printed.
static void serve_ublk(const struct line *line, const struct dmh_ublk_info *info, int fd)
{
    const char *file = text_of(line, "serve"), *out = text_of(line, "out"), *stalls = text_of(line, "stall");
    char numbers[4][16], stall[32];
    const pid_t pid = file ? fork() : 0;

    if (!file || pid < 0) {
        return;
    }
    if (pid) {
        printf("server=%d\n", pid);
        return;
    }
    snprintf(numbers[0], sizeof(numbers[0]), "%d", fd);
    snprintf(numbers[1], sizeof(numbers[1]), "%" PRIu64, number(line, "serving", info->queue_count));
    snprintf(numbers[2], sizeof(numbers[2]), "%u", info->queue_depth);
    snprintf(numbers[3], sizeof(numbers[3]), "%u", info->io_bytes_max);
    snprintf(stall, sizeof(stall), "stall=%s", stalls ? stalls : "0");
    int output = open(out ? out : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    fcntl(fd, F_SETFD, 0);
    if (output < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0 || setgroups(0, NULL) ||
        setgid(1000) || setuid(1000)) {
        _exit(126);
    }
    execlp("ublk_serve", "ublk_serve", numbers[0], numbers[1], numbers[2], numbers[3], file, stall, (char *)NULL);
    _exit(127);
}

// ublk-add VOLUME/ublk:PART size=BYTES [block=N] [physical=N] [queues=N] [depth=N] [io=N] [ro] [flush] [fua] [trim] [zeroes] [recovery] [reissue]
// [copy] [serve=FILE ...]
static int on_ublk_add(struct line *line, struct br_err *err)
{
    struct dmh_ublk_add request = {.device = ref(word(line, 0)),
                                   .size_bytes = number(line, "size", 0),
                                   .block_bytes = (uint32_t)number(line, "block", 512),
                                   .physical_bytes = (uint32_t)number(line, "physical", 4096),
                                   .queue_count = (uint32_t)number(line, "queues", 1),
                                   .queue_depth = (uint32_t)number(line, "depth", 32),
                                   .io_bytes_max = (uint32_t)number(line, "io", 65536),
                                   .read_only = has(line, "ro"),
                                   .flush = has(line, "flush"),
                                   .fua = has(line, "fua"),
                                   .trim = has(line, "trim"),
                                   .zeroes = has(line, "zeroes"),
                                   .recovery = has(line, "recovery"),
                                   .reissue = has(line, "reissue"),
                                   .user_copy = has(line, "copy")};
    struct dmh_ublk_info info;
    int fd = -1;

    int error = dmh_ublk_add(line->client, &request, &fd, &info, err);
    if (!error) {
        print_ublk(&info);
        fflush(stdout);
        serve_ublk(line, &info, fd);
        close(fd);
    }
    return error;
}

// ublk-recover VOLUME/ublk:PART [retry=MS] [serve=FILE ...] [keep]: keep the descriptor open here, and do not serve
static int on_ublk_recover(struct line *line, struct br_err *err)
{
    struct dmh_ublk_recover request = {.device = ref(word(line, 0)), .retry_ms = (uint32_t)number(line, "retry", 0)};
    struct dmh_ublk_info info;
    int fd = -1;

    int error = dmh_ublk_recover(line->client, &request, &fd, &info, err);
    if (!error) {
        print_ublk(&info);
        fflush(stdout);
        serve_ublk(line, &info, fd);
        if (!has(line, "keep")) {
            close(fd);
        }
    }
    return error;
}

// ublk-start, ublk-recovered VOLUME/ublk:PART pid=N [deadline=MS]
static int ublk_serve_verb(struct line *line, bool recovered, struct br_err *err)
{
    struct dmh_ublk_serve request = {.device = ref(word(line, 0)),
                                     .pid = (uint32_t)number(line, "pid", 1),
                                     .deadline_ms = (uint32_t)number(line, "deadline", 20000)};
    struct dmh_ublk_info info;

    int error = recovered ? dmh_ublk_recovered(line->client, &request, &info, err)
                          : dmh_ublk_start(line->client, &request, &info, err);
    if (!error) {
        print_ublk(&info);
    }
    return error;
}

static int on_ublk_start(struct line *line, struct br_err *err)
{
    return ublk_serve_verb(line, false, err);
}

static int on_ublk_recovered(struct line *line, struct br_err *err)
{
    return ublk_serve_verb(line, true, err);
}

// ublk-stop, ublk-delete VOLUME/ublk:PART [deadline=MS] [force]
static struct dmh_ublk_end ublk_end(const struct line *line)
{
    return (struct dmh_ublk_end){.device = ref(word(line, 0)),
                                 .deadline_ms = (uint32_t)number(line, "deadline", 20000),
                                 .force = has(line, "force")};
}

static int on_ublk_stop(struct line *line, struct br_err *err)
{
    struct dmh_ublk_end end = ublk_end(line);
    return dmh_ublk_stop(line->client, &end, err);
}

static int on_ublk_delete(struct line *line, struct br_err *err)
{
    struct dmh_ublk_end end = ublk_end(line);
    return dmh_ublk_delete(line->client, &end, err);
}

static int on_ublk_status(struct line *line, struct br_err *err)
{
    struct dmh_ref device = ref(word(line, 0));
    struct dmh_ublk_info info;
    int error = dmh_ublk_status(line->client, &device, &info, err);

    if (!error) {
        print_ublk(&info);
    }
    return error;
}

static int on_ublk_list(struct line *line, struct br_err *err)
{
    BR_AUTO_FREE struct dmh_ublk_listed *listed = calloc(1, sizeof(*listed));
    struct dmh_list list = {.skip = (uint32_t)number(line, "skip", 0)};

    copy(list.volume, sizeof(list.volume), word(line, 0));
    int error = dmh_ublk_list(line->client, &list, listed, err);
    for (uint32_t i = 0; !error && i < listed->device_count; i++) {
        print_ublk(&listed->devices[i]);
    }
    return error;
}

static int on_sleep(struct line *line, struct br_err *err)
{
    uint64_t ms = strtoull(word(line, 0), NULL, 0);

    (void)err;
    nanosleep(&(struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct line *line, struct br_err *err);
} commands[] = {
    {"hello", on_hello},
    {"register", on_register},
    {"unregister", on_unregister},
    {"volume", on_volume},
    {"create", on_create},
    {"load", on_load},
    {"copy-table", on_copy_table},
    {"clear", on_clear},
    {"resume", on_resume},
    {"remove", on_remove},
    {"message", on_message},
    {"status", on_status},
    {"table", on_table},
    {"info", on_info},
    {"list", on_list},
    {"window", on_window},
    {"snapshot-remove", on_snapshot_remove},
    {"freeze", on_freeze},
    {"thaw", on_thaw},
    {"open", on_open},
    {"zero-head", on_zero_head},
    {"file-make", on_file_make},
    {"file-map", on_file_map},
    {"file-release", on_file_release},
    {"lvm-report", on_lvm_report},
    {"lvm-create", on_lvm_create},
    {"lvm-extend", on_lvm_extend},
    {"lvm-remove", on_lvm_remove},
    {"lvm-activate", on_lvm_activate},
    {"nbd-connect", on_nbd_connect},
    {"nbd-reconnect", on_nbd_reconnect},
    {"nbd-disconnect", on_nbd_disconnect},
    {"nbd-status", on_nbd_status},
    {"nbd-list", on_nbd_list},
    {"ublk-add", on_ublk_add},
    {"ublk-start", on_ublk_start},
    {"ublk-stop", on_ublk_stop},
    {"ublk-delete", on_ublk_delete},
    {"ublk-recover", on_ublk_recover},
    {"ublk-recovered", on_ublk_recovered},
    {"ublk-status", on_ublk_status},
    {"ublk-list", on_ublk_list},
    {"sleep", on_sleep},
};

static int run(struct dmh_client *client, int count, char **words)
{
    struct line line = {.client = client, .count = count - 1, .words = words + 1};
    struct br_err err = {0};

    for (size_t i = 0; i < BR_ARRAY_LEN(commands); i++) {
        if (!strcmp(commands[i].name, words[0])) {
            int error = commands[i].run(&line, &err);
            if (error && err.code) {
                fprintf(stderr, "%s: %s\n", br_err_name(-error), err.text);
            }
            fflush(stdout);
            return error;
        }
    }
    return usage(words[0]);
}

// ---- a client that breaks the protocol -------------------------------------------------------------------------------

// One message of a client's; @flag says that a descriptor comes with it, @fd is one that does, -1 none.
static bool say(int connection, uint16_t op, const void *body, bool flag, int fd)
{
    struct dmh_header header = {.op = op, .flags = flag ? DMH_FLAG_FD : 0, .sequence = 1};
    struct br_buf bytes = {0};

    bool said = !dmh_encode(&header, dmh_request_layout(op), body, &bytes, NULL) &&
                !dmh_process_send(connection, bytes.data, bytes.len, &fd, fd >= 0);
    br_buf_free(&bytes);
    return said;
}

// Does the helper end the connection, and answer nothing?
static bool hung_up(int connection)
{
    char answer[64];

    return recv(connection, answer, sizeof(answer), 0) == 0;
}

// stray: over $DMH_SOCKET; descriptors that no request takes, or that don't come though they were announced
static int stray(const char *path)
{
    static const struct {
        uint16_t op;
        bool greet, flag, fd;
    } breaches[] = {
        {DMH_OP_HELLO, false, true, true},       {DMH_OP_HELLO, false, false, true},
        {DMH_OP_NBD_STATUS, true, true, true},   {DMH_OP_NBD_CONNECT, true, true, false},
        {DMH_OP_NBD_CONNECT, true, false, true},
    };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct dmh_nbd_connect nothing = {.size_bytes = 0};
    struct dmh_hello hello = {.version = DMH_PROTOCOL_VERSION};
    char answer[256];

    copy(address.sun_path, sizeof(address.sun_path), path);
    for (size_t i = 0; i < BR_ARRAY_LEN(breaches); i++) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        bool ok = !connect(fd, (const struct sockaddr *)&address, sizeof(address));
        if (ok && breaches[i].greet) {
            ok = say(fd, DMH_OP_HELLO, &hello, false, -1) && recv(fd, answer, sizeof(answer), 0) > 0;
        }
        const void *body = breaches[i].op == DMH_OP_HELLO ? (const void *)&hello : &nothing;
        ok = ok && say(fd, breaches[i].op, body, breaches[i].flag, breaches[i].fd ? STDIN_FILENO : -1) && hung_up(fd);
        close(fd);
        if (!ok) {
            fprintf(stderr, "stray: breach %zu was not answered by hanging up\n", i);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct dmh_client *client = NULL;
    struct br_err err = {0};
    const char *socket_path = getenv("DMH_SOCKET");
    const char *helper = getenv("DMH_HELPER");

    if (argc == 2 && socket_path && !strcmp(argv[1], "stray")) {
        return stray(socket_path);
    }
    int error = socket_path ? dmh_client_connect(socket_path, &client, &err) : dmh_client_spawn(helper, &client, &err);
    if (error) {
        fprintf(stderr, "%s: %s\n", br_err_name(-error), err.text);
        return br_err_exit(error);
    }
    for (int from = 1; !error && from < argc;) {
        int to = from;
        while (to < argc && strcmp(argv[to], "--") != 0) {
            to++;
        }
        error = to > from ? run(client, to - from, argv + from) : 0;
        from = to + 1;
    }
    dmh_client_close(client);
    return br_err_exit(error);
}
