// SPDX-License-Identifier: Apache-2.0
//
// All but reads is done at once, and the next message waits: the peer's messages lie in the channel meanwhile, which is bounded. Reads run
// beside one another and are answered from tick(), never from inside the ring.
#include "engine/repo/store_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/units.h"

#define SESSION_POLL_NS     (BR_NS_PER_S / 2)
#define SESSION_RING_NS     (2 * BR_NS_PER_MS)
#define SESSION_GETS_MAX    (BR_STORE_GETS_MAX / 2)
#define SESSION_GETS_BYTES  (16 * BR_MIB) // under way or not answered yet
#define SESSION_CREDIT_PART 4u            // a CREDIT is due when this part of the credit was taken

enum session_state { SESSION_OPENING, SESSION_OPEN, SESSION_OVER };

struct session_get {
    struct br_store_session *session;
    struct session_get *next; // of those that ended
    uint32_t number;
    struct br_store_get get;
    uint8_t bytes[];
};

struct session_write {
    bool used;
    uint32_t number;
    void *write; // NULL: it failed, and what comes is passed over
};

struct br_store_session {
    struct br_store_session_params params;
    enum session_state state;
    struct br_store store;
    struct session_write writes[BR_STORE_SESSION_WRITES];
    struct br_err write_failed; // of the first write that did since the last SETTLE; code 0 none
    uint64_t taken_bytes;       // of PIECEs
    uint64_t told_bytes;
    unsigned gets;       // not answered
    unsigned gets_ended; // of them
    uint64_t gets_bytes; // of all
    struct session_get *ended;
    struct session_get **ended_tail;
};

static int say(struct br_store_session *session, struct br_store_wire *message, uint32_t number, struct br_err *reterr)
{
    message->number = number;
    return br_store_wire_send(&session->params.channel, message, reterr);
}

static int say_outcome(struct br_store_session *session, enum br_store_wire_type type, uint32_t number, int rc,
                       const struct br_err *err, struct br_err *reterr)
{
    struct br_store_wire message = {.type = type};

    if (rc < 0) {
        message.outcome = *err;
        // Told of as missing is only what the store knows to be: a client forgets what is not there.
        message.outcome.code = rc == -BR_E_NOT_FOUND && err->os_errno && err->os_errno != ENOENT ? BR_E_IO : -rc;
    }
    return say(session, &message, number, reterr);
}

// Ends the session; the client is told as far as the channel still goes.
static int end_with(struct br_store_session *session, const struct br_err *err, struct br_err *reterr)
{
    int rc = say_outcome(session, BR_STORE_WIRE_ERROR, 0, -err->code, err, NULL);

    (void)rc; // the session is over anyway
    session->state = SESSION_OVER;
    if (reterr) {
        *reterr = *err;
    }
    return -err->code;
}

static int breaks(struct br_store_session *session, const char *how, struct br_err *reterr)
{
    struct br_err err = {0};

    br_err_set(&err, BR_E_PROTOCOL, "%s", how);
    return end_with(session, &err, reterr);
}

int br_store_session_open(const struct br_store_session_params *params, struct br_store_session **ret_session,
                          struct br_err *reterr)
{
    struct br_store_session *session = calloc(1, sizeof(*session));

    if (!session) {
        return br_err_set(reterr, BR_E_NOMEM, "beginning a session");
    }
    session->params = *params;
    session->ended_tail = &session->ended;
    *ret_session = session;
    return 0;
}

static struct session_get *next_ended(struct br_store_session *session)
{
    struct session_get *get = session->ended;

    if (get) {
        session->ended = get->next;
        session->ended_tail = session->ended ? session->ended_tail : &session->ended;
        session->gets--;
        session->gets_ended--;
        session->gets_bytes -= get->get.len_bytes;
    }
    return get;
}

void br_store_session_close(struct br_store_session *session)
{
    if (!session) {
        return;
    }
    for (unsigned i = 0; i < BR_STORE_SESSION_WRITES; i++) {
        if (session->writes[i].used && session->writes[i].write) {
            session->store.ops->write_close(session->store.ctx, session->writes[i].write, false);
        }
    }
    while (session->gets > session->gets_ended) {
        br_ring_wait(session->params.ring, UINT64_MAX);
    }
    for (struct session_get *get; (get = next_ended(session));) {
        free(get);
    }
    if (session->store.ops) {
        session->store.ops->close(session->store.ctx);
    }
    free(session);
}

bool br_store_session_busy(const struct br_store_session *session)
{
    return session->gets > 0;
}

static int open_store(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    struct br_store_session_host *host = &session->params.host;
    struct br_store_wire opened = {
        .type = BR_STORE_WIRE_OPENED,
        .opened = {.version = BR_STORE_WIRE_VERSION, .credit_bytes = BR_STORE_WIRE_CREDIT},
    };
    struct br_store store = {0};
    struct br_err err = {0};

    if (message->open.version_min > BR_STORE_WIRE_VERSION || message->open.version_max < BR_STORE_WIRE_VERSION) {
        br_err_set(&err, BR_E_VERSION, "the client speaks repository versions %u to %u, this server version %u",
                   message->open.version_min, message->open.version_max, BR_STORE_WIRE_VERSION);
        return end_with(session, &err, reterr);
    }
    int rc = host->open(host->ctx, message->open.repository, message->open.role, &store, &opened.opened.role, &err);
    if (rc < 0) {
        return say_outcome(session, BR_STORE_WIRE_ERROR, message->number, rc, &err, reterr);
    }
    session->store = store;
    session->state = SESSION_OPEN;
    snprintf(opened.program, sizeof(opened.program), "%s",
             session->params.program ? session->params.program : "blkrep");
    return say(session, &opened, message->number, reterr);
}

// Reading -----------------------------------------------------------------------------------------------------------------------------

int br_store_session_tick(struct br_store_session *session, struct br_err *reterr)
{
    struct session_get *get;
    int rc = 0;

    while (!rc && (get = next_ended(session))) {
        struct br_store_wire data = {.type = BR_STORE_WIRE_DATA, .bytes = get->bytes, .bytes_len = get->get.len_bytes};

        rc = get->get.result < 0
                 ? say_outcome(session, BR_STORE_WIRE_ERROR, get->number, get->get.result, &get->get.err, reterr)
                 : say(session, &data, get->number, reterr);
        free(get);
    }
    return rc;
}

static void get_ended(struct br_store_get *get)
{
    struct session_get *ended = get->ctx;
    struct br_store_session *session = ended->session;

    ended->next = NULL;
    *session->ended_tail = ended;
    session->ended_tail = &ended->next;
    session->gets_ended++;
}

static int begin_get(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    struct session_get *get = calloc(1, sizeof(*get) + message->len_bytes);
    struct br_err err = {0};
    int rc = 0;

    if (!get) {
        rc = br_err_set(&err, BR_E_NOMEM, "reading %u bytes", message->len_bytes);
        return say_outcome(session, BR_STORE_WIRE_ERROR, message->number, rc, &err, reterr);
    }
    while (!rc && session->gets &&
           (session->gets >= SESSION_GETS_MAX || session->gets_bytes + message->len_bytes > SESSION_GETS_BYTES)) {
        br_ring_wait(session->params.ring, session->ended ? 0 : UINT64_MAX);
        rc = br_store_session_tick(session, reterr);
    }
    if (rc < 0) {
        free(get);
        return rc;
    }
    get->session = session;
    get->number = message->number;
    get->get = (struct br_store_get){
        .offset_bytes = message->value,
        .buf = get->bytes,
        .len_bytes = message->len_bytes,
        .done = get_ended,
        .ctx = get,
    };
    memcpy(get->get.name, message->name, sizeof(get->get.name));
    session->gets++;
    session->gets_bytes += message->len_bytes;
    session->store.ops->get(session->store.ctx, &get->get);
    return 0;
}

static int give_number(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    const struct br_store *store = &session->store;
    struct br_store_wire answer = {.type = BR_STORE_WIRE_NUMBER};
    struct br_err err = {0};
    int rc = message->type == BR_STORE_WIRE_SIZE ? store->ops->size(store->ctx, message->name, &answer.value, &err)
             : message->type == BR_STORE_WIRE_ARRIVED
                 ? store->ops->arrived(store->ctx, message->name, &answer.value, &err)
                 : store->ops->space(store->ctx, &answer.value, &err);

    return rc < 0 ? say_outcome(session, BR_STORE_WIRE_ERROR, message->number, rc, &err, reterr)
                  : say(session, &answer, message->number, reterr);
}

struct session_list {
    struct br_store_session *session;
    uint32_t number;
    struct br_buf names;
    struct br_err lost; // the channel's
};

static int send_names(struct session_list *list)
{
    struct br_store_wire names = {.type = BR_STORE_WIRE_NAMES, .bytes = list->names.data, .bytes_len = list->names.len};
    int rc = say(list->session, &names, list->number, &list->lost);

    br_buf_reset(&list->names);
    return rc;
}

static int list_name(void *ctx, const char *name)
{
    struct session_list *list = ctx;

    br_store_wire_add_name(&list->names, name);
    if (br_buf_failed(&list->names)) {
        return -BR_E_NOMEM;
    }
    return list->names.len < BR_STORE_WIRE_NAMES_MAX ? 0 : send_names(list);
}

static int give_names(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    struct session_list list = {.session = session, .number = message->number};
    struct br_err err = {0};
    int rc = session->store.ops->list(session->store.ctx, message->name, list_name, &list, &err);

    if (!rc && list.names.len) {
        rc = send_names(&list);
    }
    br_buf_free(&list.names);
    if (list.lost.code) {
        if (reterr) {
            *reterr = list.lost;
        }
        return -list.lost.code;
    }
    return say_outcome(session, BR_STORE_WIRE_DONE, message->number, rc, &err, reterr);
}

// Writing -----------------------------------------------------------------------------------------------------------------------------

static struct session_write *write_of(struct br_store_session *session, uint32_t number)
{
    for (unsigned i = 0; i < BR_STORE_SESSION_WRITES; i++) {
        if (session->writes[i].used && session->writes[i].number == number) {
            return &session->writes[i];
        }
    }
    return NULL;
}

// It is told at once, so that the client need not send on in vain, and again by SETTLE.
static int write_fails(struct br_store_session *session, struct session_write *write, int rc, const struct br_err *err,
                       struct br_err *reterr)
{
    if (!session->write_failed.code) {
        session->write_failed = *err;
        session->write_failed.code = -rc;
    }
    write->write = NULL;
    return say_outcome(session, BR_STORE_WIRE_ERROR, write->number, rc, err, reterr);
}

static int begin_write(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    struct session_write *write = NULL;
    struct br_err err = {0};

    for (unsigned i = 0; i < BR_STORE_SESSION_WRITES && !write; i++) {
        write = session->writes[i].used ? NULL : &session->writes[i];
    }
    if (!write || write_of(session, message->number)) {
        return breaks(session, "a BEGIN of a write too many", reterr);
    }
    *write = (struct session_write){.used = true, .number = message->number};
    int rc = session->store.ops->write_open(session->store.ctx, message->name, &write->write, &err);
    return rc < 0 ? write_fails(session, write, rc, &err, reterr) : 0;
}

static int take_piece(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    const struct br_store *store = &session->store;
    struct session_write *write = write_of(session, message->number);
    struct br_store_wire credit = {.type = BR_STORE_WIRE_CREDITED};
    struct br_buf bytes = {0};
    struct br_err err = {0};
    int rc = 0;

    if (!write) {
        return breaks(session, "a PIECE of no write", reterr);
    }
    if (write->write) {
        br_buf_append(&bytes, message->bytes, message->bytes_len);
        rc = store->ops->write(store->ctx, write->write, &bytes, &err);
        if (rc < 0) {
            store->ops->write_close(store->ctx, write->write, false);
            rc = write_fails(session, write, rc, &err, reterr);
        }
    }
    session->taken_bytes += message->bytes_len;
    if (rc < 0 || session->taken_bytes - session->told_bytes < BR_STORE_WIRE_CREDIT / SESSION_CREDIT_PART) {
        return rc;
    }
    session->told_bytes = credit.value = session->taken_bytes;
    return say(session, &credit, 0, reterr);
}

static int end_write(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    struct session_write *write = write_of(session, message->number);

    if (!write) {
        return breaks(session, "an END of no write", reterr);
    }
    if (write->write) {
        session->store.ops->write_close(session->store.ctx, write->write, message->keep);
    }
    *write = (struct session_write){0};
    return 0;
}

static int settle(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    struct br_err err = {0};
    int rc = session->store.ops->settle(session->store.ctx, &err);

    if (session->write_failed.code) {
        err = session->write_failed;
        rc = -err.code;
    }
    session->write_failed = (struct br_err){0};
    return say_outcome(session, BR_STORE_WIRE_DONE, message->number, rc, &err, reterr);
}

static int change(struct br_store_session *session, const struct br_store_wire *message, struct br_err *reterr)
{
    const struct br_store *store = &session->store;
    struct br_store_session_host *host = &session->params.host;
    bool removes = message->type == BR_STORE_WIRE_REMOVE;
    struct br_err err = {0};
    int rc = removes ? store->ops->remove(store->ctx, message->name, &err)
                     : store->ops->put(store->ctx, message->name, message->bytes, message->bytes_len, &err);

    if (!rc && host->stored) {
        host->stored(host->ctx, message->name, removes);
    }
    return say_outcome(session, BR_STORE_WIRE_DONE, message->number, rc, &err, reterr);
}

// The whole ---------------------------------------------------------------------------------------------------------------------------

int br_store_session_message(struct br_store_session *session, const struct br_buf *message, struct br_err *reterr)
{
    struct br_store_wire wire;
    struct br_err err = {0};

    if (session->state == SESSION_OVER) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a message after the session's end");
    }
    if (br_store_wire_decode(message->data, message->len, &wire, &err) < 0) {
        return end_with(session, &err, reterr);
    }
    if (wire.type == BR_STORE_WIRE_BYE) {
        session->state = SESSION_OVER;
        return 1;
    }
    if ((wire.type == BR_STORE_WIRE_OPEN) != (session->state == SESSION_OPENING) || !wire.number) {
        return breaks(session, "a message out of place", reterr);
    }
    switch (wire.type) {
    case BR_STORE_WIRE_OPEN: return open_store(session, &wire, reterr);
    case BR_STORE_WIRE_PUT:
    case BR_STORE_WIRE_REMOVE: return change(session, &wire, reterr);
    case BR_STORE_WIRE_BEGIN: return begin_write(session, &wire, reterr);
    case BR_STORE_WIRE_PIECE: return take_piece(session, &wire, reterr);
    case BR_STORE_WIRE_END: return end_write(session, &wire, reterr);
    case BR_STORE_WIRE_SETTLE: return settle(session, &wire, reterr);
    case BR_STORE_WIRE_GET: return begin_get(session, &wire, reterr);
    case BR_STORE_WIRE_SIZE:
    case BR_STORE_WIRE_ARRIVED:
    case BR_STORE_WIRE_SPACE: return give_number(session, &wire, reterr);
    case BR_STORE_WIRE_LIST: return give_names(session, &wire, reterr);
    default: return breaks(session, "a server's message from a client", reterr);
    }
}

// Waits for a message, or runs the ring while there are reads. Returns as the channel's recv.
static int receive(struct br_store_session *session, struct br_buf *message, struct br_err *reterr)
{
    struct br_channel *channel = &session->params.channel;

    if (!br_store_session_busy(session)) {
        return channel->ops->recv(channel->ctx, message, SESSION_POLL_NS, reterr);
    }
    int rc = channel->ops->recv(channel->ctx, message, 0, reterr);
    if (rc >= 0) {
        br_ring_wait(session->params.ring, rc || session->ended ? 0 : SESSION_RING_NS);
    }
    return rc;
}

int br_store_session_serve(struct br_store_session *session, const volatile bool *stop, struct br_err *reterr)
{
    struct br_buf message = {0};
    struct br_err err = {0};
    int rc;

    do {
        if (stop && *stop) {
            br_err_set(&err, BR_E_CANCELLED, "the server is being stopped");
            rc = end_with(session, &err, reterr);
            break;
        }
        rc = receive(session, &message, reterr);
        if (rc > 0) {
            rc = br_store_session_message(session, &message, reterr);
        }
        rc = rc ? rc : br_store_session_tick(session, reterr);
    } while (rc == 0);
    br_buf_free(&message);
    return BR_MIN(rc, 0);
}
