// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/server.h"

#include <errno.h>
#include <unistd.h>

#include "dm-helper/dm.h"
#include "dm-helper/process.h"
#include "dm-helper/wire.h"

struct dmh_handler {
    enum dmh_op op;
    bool root_only;
    bool without_dm; // makes sense where the kernel has no device-mapper
    int (*handle)(struct dmh_turn *turn, struct br_err *reterr);
};

static const struct dmh_handler dmh_handlers[] = {
    {DMH_OP_REGISTER, true, true, dmh_on_register},
    {DMH_OP_UNREGISTER, true, true, dmh_on_unregister},
    {DMH_OP_VOLUME, false, true, dmh_on_volume},
    {DMH_OP_VOLUMES, false, true, dmh_on_volumes},
    {DMH_OP_RECORD_OPEN, false, true, dmh_on_record_open},
    {DMH_OP_RECORD_KEEP, false, true, dmh_on_record_keep},
    {DMH_OP_CREATE, false, false, dmh_on_create},
    {DMH_OP_LOAD, false, false, dmh_on_load},
    {DMH_OP_COPY_TABLE, false, false, dmh_on_copy_table},
    {DMH_OP_CLEAR, false, false, dmh_on_clear},
    {DMH_OP_RESUME, false, false, dmh_on_resume},
    {DMH_OP_REMOVE, false, false, dmh_on_remove},
    {DMH_OP_MESSAGE, false, false, dmh_on_message},
    {DMH_OP_STATUS, false, false, dmh_on_status},
    {DMH_OP_TABLE, false, false, dmh_on_table},
    {DMH_OP_INFO, false, false, dmh_on_info},
    {DMH_OP_LIST, false, false, dmh_on_list},
    {DMH_OP_WINDOW, false, false, dmh_on_window},
    {DMH_OP_SNAPSHOT_REMOVE, false, false, dmh_on_snapshot_remove},
    {DMH_OP_FREEZE, false, true, dmh_on_freeze},
    {DMH_OP_THAW, false, true, dmh_on_thaw},
    {DMH_OP_OPEN, false, true, dmh_on_open},
    {DMH_OP_ZERO_HEAD, false, true, dmh_on_zero_head},
    {DMH_OP_FILE_MAKE, false, true, dmh_on_file_make},
    {DMH_OP_FILE_MAP, false, false, dmh_on_file_map},
    {DMH_OP_FILE_RELEASE, false, false, dmh_on_file_release},
    {DMH_OP_LVM_REPORT, false, false, dmh_on_lvm_report},
    {DMH_OP_LVM_CREATE, false, false, dmh_on_lvm_create},
    {DMH_OP_LVM_EXTEND, false, false, dmh_on_lvm_extend},
    {DMH_OP_LVM_REMOVE, false, false, dmh_on_lvm_remove},
    {DMH_OP_LVM_ACTIVATE, false, false, dmh_on_lvm_activate},
    {DMH_OP_THIN_DELTA, false, false, dmh_on_thin_delta},
    {DMH_OP_NBD_CONNECT, true, true, dmh_on_nbd_connect},
    {DMH_OP_NBD_RECONNECT, true, true, dmh_on_nbd_reconnect},
    {DMH_OP_NBD_DISCONNECT, true, true, dmh_on_nbd_disconnect},
    {DMH_OP_NBD_STATUS, false, true, dmh_on_nbd_status},
    {DMH_OP_NBD_LIST, false, true, dmh_on_nbd_list},
    {DMH_OP_UBLK_ADD, true, true, dmh_on_ublk_add},
    {DMH_OP_UBLK_START, true, true, dmh_on_ublk_start},
    {DMH_OP_UBLK_STOP, true, true, dmh_on_ublk_stop},
    {DMH_OP_UBLK_DELETE, true, true, dmh_on_ublk_delete},
    {DMH_OP_UBLK_RECOVER, true, true, dmh_on_ublk_recover},
    {DMH_OP_UBLK_RECOVERED, true, true, dmh_on_ublk_recovered},
    {DMH_OP_UBLK_STATUS, false, true, dmh_on_ublk_status},
    {DMH_OP_UBLK_LIST, false, true, dmh_on_ublk_list},
};

static const struct dmh_handler *dmh_handler_of(uint16_t op)
{
    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_handlers); i++) {
        if (dmh_handlers[i].op == op) {
            return &dmh_handlers[i];
        }
    }
    return NULL;
}

// ---- one request -----------------------------------------------------------------------------------------------------

static int dmh_on_hello(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_hello *hello = turn->request;
    struct dmh_welcome *welcome = turn->reply;

    if (hello->version != DMH_PROTOCOL_VERSION) {
        return br_err_set(reterr, BR_E_VERSION, "blkrep speaks version %u of the helper's protocol, this helper %u",
                          hello->version, DMH_PROTOCOL_VERSION);
    }
    welcome->version = DMH_PROTOCOL_VERSION;
    welcome->helper_pid = (uint32_t)getpid();
    welcome->peer_is_root = turn->server->peer_is_root;
    welcome->udev = dmh_dm_version(welcome->dm_version) && dmh_dm_has_udev();
    return 0;
}

static int dmh_check_allowed(const struct dmh_server *server, const struct dmh_handler *handler, struct br_err *reterr)
{
    uint32_t version[3];

    if (handler->root_only && !server->peer_is_root) {
        return br_err_set(reterr, BR_E_PERMISSION, "only root may ask for %s", dmh_op_name((uint16_t)handler->op));
    }
    if (!handler->without_dm && !dmh_dm_version(version)) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "%s: this kernel's device-mapper can't be used",
                          dmh_op_name((uint16_t)handler->op));
    }
    return 0;
}

static int dmh_take_turn(struct dmh_turn *turn, uint16_t op, struct br_err *reterr)
{
    const struct dmh_handler *handler = dmh_handler_of(op);
    int error = 0;

    if (op == DMH_OP_HELLO) {
        return dmh_on_hello(turn, reterr);
    }
    if (!handler) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "request %u is not known to this helper", op);
    }
    error = dmh_check_allowed(turn->server, handler, reterr);
    return error ? error : handler->handle(turn, reterr);
}

static int dmh_encode_reply(const struct dmh_header *request, const struct dmh_turn *turn, int error,
                            const struct br_err *err, struct br_buf *out)
{
    struct dmh_header header = {
        .op = request->op, .flags = DMH_FLAG_REPLY, .sequence = request->sequence, .failed = error ? 1 : 0};
    struct br_err own = {0};

    if (!error) {
        header.flags |= turn->reply_fd >= 0 ? DMH_FLAG_FD : 0;
        size_t start = out->len;
        error = dmh_encode(&header, dmh_reply_layout(request->op), turn->reply, out, &own);
        if (!error) {
            return 0;
        }
        out->len = start;
        header.flags = DMH_FLAG_REPLY;
        header.failed = 1;
        err = &own;
    }
    return dmh_encode_error(&header, err, out);
}

static int dmh_answer(struct dmh_server *server, const struct dmh_header *header, const uint8_t *payload,
                      const struct dmh_given *given, struct br_err *reterr)
{
    const struct dmh_layout *request_layout = dmh_request_layout(header->op);
    const struct dmh_layout *reply_layout = dmh_reply_layout(header->op);
    BR_AUTO_FREE void *request = calloc(1, request_layout ? dmh_layout_size(request_layout) : 1);
    BR_AUTO_FREE void *reply = calloc(1, reply_layout ? dmh_layout_size(reply_layout) : 1);
    struct dmh_turn turn = {.server = server, .request = request, .reply = reply, .given = given, .reply_fd = -1};
    struct br_err err = {0};
    struct br_buf out = {0};
    int error = 0;

    if (!request || !reply) {
        return br_err_set(reterr, BR_E_NOMEM, "answering a request");
    }
    if (request_layout) {
        error = dmh_decode_body(request_layout, payload, header->payload_bytes, request, reterr);
        if (error) {
            return error; // a peer that does not speak the protocol is not spoken with
        }
    }
    error = dmh_take_turn(&turn, header->op, &err);
    if (error && turn.reply_fd >= 0) {
        close(turn.reply_fd);
        turn.reply_fd = -1;
    }
    error = dmh_encode_reply(header, &turn, error, &err, &out);
    if (!error && dmh_process_send(server->fd, out.data, out.len, &turn.reply_fd, turn.reply_fd >= 0)) {
        error = br_err_set(reterr, BR_E_PEER, "answering %s: %s", dmh_op_name(header->op), strerror(errno));
    }
    if (turn.reply_fd >= 0) {
        close(turn.reply_fd);
    }
    br_buf_free(&out);
    return error;
}

// ---- the connection --------------------------------------------------------------------------------------------------

// One message: its length, 0 at the connection's end.
static int dmh_receive(int fd, uint8_t *bytes, size_t size, struct dmh_given *given, struct br_err *reterr)
{
    bool whole;
    ssize_t len = dmh_process_receive(fd, bytes, size, given->fds, &given->count, &whole);

    if (len < 0) {
        return errno == ECONNRESET ? 0 : br_err_os(reterr, errno, "receiving a request");
    }
    if (!whole) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a request is too long, or brings too many descriptors");
    }
    return (int)len;
}

static int dmh_check_order(const struct dmh_header *header, const struct dmh_given *given, bool greeted,
                           struct br_err *reterr)
{
    if ((header->flags & ~DMH_FLAG_FD) || header->failed || (header->op == DMH_OP_HELLO) == greeted) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a request out of order: %s", dmh_op_name(header->op));
    }
    if (((header->flags & DMH_FLAG_FD) != 0) != (given->count != 0) || given->count > dmh_request_fds_max(header->op)) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a request with descriptors that it does not take: %s",
                          dmh_op_name(header->op));
    }
    return 0;
}

static int dmh_serve_one(struct dmh_server *server, uint8_t *bytes, bool *ret_greeted, bool *ret_ended,
                         struct br_err *reterr)
{
    struct dmh_given given = {.count = 0};
    struct dmh_header header;
    int len = dmh_receive(server->fd, bytes, DMH_MESSAGE_MAX, &given, reterr);

    *ret_ended = len == 0;
    int error = len > 0 ? dmh_decode_header(bytes, (size_t)len, &header, reterr) : len;
    if (len > 0 && !error) {
        error = dmh_check_order(&header, &given, *ret_greeted, reterr);
    }
    if (len > 0 && !error) {
        *ret_greeted = true;
        error = dmh_answer(server, &header, bytes + DMH_HEADER_BYTES, &given, reterr);
    }
    dmh_process_close(given.fds, given.count);
    return error;
}

int dmh_server_run(struct dmh_server *server, struct br_err *reterr)
{
    BR_AUTO_FREE uint8_t *bytes = malloc(DMH_MESSAGE_MAX);
    bool greeted = false, ended = false;
    int error = 0;

    if (!bytes) {
        return br_err_set(reterr, BR_E_NOMEM, "serving a connection");
    }
    while (!error && !ended) {
        error = dmh_serve_one(server, bytes, &greeted, &ended, reterr);
    }
    dmh_freeze_end(server);
    return error;
}
