// SPDX-License-Identifier: Apache-2.0
//
// Only the ring's thread touches what is here, but for the channel's recv(), which one job at a time calls. A question waits by running the
// ring until its answer came, so that questions may be asked from inside callbacks, too.
#include "engine/repo/store_remote.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/units.h"
#include "engine/net/registry.h"
#include "engine/repo/store_wire.h"

#define REMOTE_POLL_NS    (BR_NS_PER_S / 2)
#define REMOTE_NAMES_MAX  (256 * BR_MIB) // of one list
#define REMOTE_WHAT_BYTES 400

// A question whose answer is waited for; on the stack of who asks.
struct question {
    struct question *next;
    uint32_t number;
    enum br_store_wire_type wanted;
    bool list; // its answer is names, and an end
    bool answered;
    struct br_store_wire answer; // without bytes
    struct br_buf names;         // of a LIST
};

// A read: its pieces have consecutive numbers.
struct remote_get {
    struct remote_get *next;
    struct br_store_get *get;
    uint32_t first;
    uint32_t pieces;
    uint32_t left;
};

struct remote_write {
    uint32_t number;
};

struct remote {
    struct br_store_remote_params params;
    char what[REMOTE_WHAT_BYTES];
    struct br_err dead; // code set: the session is over
    uint32_t last_number;
    struct question *questions;
    struct remote_get *gets;
    struct br_err write_failed; // since the last settle
    uint64_t credit_bytes;
    uint64_t sent_bytes;
    uint64_t credited_bytes;
    bool wants_credit;

    struct br_job job; // receives one message
    bool receiving;
    struct br_buf in;
    int received;
    struct br_err receive_err;
};

static int is_dead(const struct remote *remote, struct br_err *reterr)
{
    if (remote->dead.code && reterr) {
        *reterr = remote->dead;
    }
    return -remote->dead.code;
}

// Reads -------------------------------------------------------------------------------------------------------------------------------

static void get_end(struct remote *remote, struct remote_get *ended)
{
    struct remote_get **at = &remote->gets;

    while (*at != ended) {
        at = &(*at)->next;
    }
    *at = ended->next;
    br_store_refuse(remote->params.ring, ended->get); // which ends it as it is: from the ring
    free(ended);
}

static void get_fail(struct br_store_get *get, const struct br_err *err)
{
    get->result = -err->code;
    get->err = *err;
}

static int dies(struct remote *remote, const struct br_err *err, struct br_err *reterr)
{
    if (!remote->dead.code) {
        remote->dead = *err;
    }
    while (remote->gets) {
        get_fail(remote->gets->get, &remote->dead);
        get_end(remote, remote->gets);
    }
    return is_dead(remote, reterr);
}

static int breaks(struct remote *remote, const char *how, struct br_err *reterr)
{
    struct br_err err = {0};

    br_err_set(&err, BR_E_PROTOCOL, "%s: %s", remote->what, how);
    return dies(remote, &err, reterr);
}

static struct remote_get *get_of(struct remote *remote, uint32_t number)
{
    for (struct remote_get *get = remote->gets; get; get = get->next) {
        if (number - get->first < get->pieces) {
            return get;
        }
    }
    return NULL;
}

// One piece of a read came, or why it does not.
static void piece_came(struct remote *remote, struct remote_get *got, const struct br_store_wire *message)
{
    struct br_store_get *get = got->get;
    size_t at = (size_t)(message->number - got->first) * BR_STORE_WIRE_PIECE_MAX;
    size_t len = BR_MIN((size_t)BR_STORE_WIRE_PIECE_MAX, get->len_bytes - at);

    if (message->type == BR_STORE_WIRE_ERROR) {
        if (!get->result) {
            get_fail(get, &message->outcome);
        }
    } else if (message->type != BR_STORE_WIRE_DATA || message->bytes_len != len) {
        breaks(remote, "an answer that is not what was asked for", NULL);
        return;
    } else if (len) {
        memcpy((uint8_t *)get->buf + at, message->bytes, len);
    }
    if (!--got->left) {
        get_end(remote, got);
    }
}

// Receiving ---------------------------------------------------------------------------------------------------------------------------

static struct question *question_of(struct remote *remote, uint32_t number)
{
    for (struct question *question = remote->questions; question; question = question->next) {
        if (question->number == number && !question->answered) {
            return question;
        }
    }
    return NULL;
}

static void answer_came(struct remote *remote, struct question *question, const struct br_store_wire *message)
{
    if (message->type == BR_STORE_WIRE_NAMES && question->list) {
        br_buf_append(&question->names, message->bytes, message->bytes_len);
        if (question->names.len > REMOTE_NAMES_MAX || br_buf_failed(&question->names)) {
            breaks(remote, "a list that does not end", NULL);
        }
        return;
    }
    if (message->type != question->wanted && message->type != BR_STORE_WIRE_ERROR) {
        breaks(remote, "an answer that is not what was asked for", NULL);
        return;
    }
    question->answer = *message;
    question->answered = true;
}

static void dispatch(struct remote *remote)
{
    struct br_store_wire message;
    struct br_err err = {0};

    if (br_store_wire_decode(remote->in.data, remote->in.len, &message, &err) < 0) {
        br_err_prefix(&err, "%s", remote->what);
        dies(remote, &err, NULL);
        return;
    }
    if (message.outcome.code) {
        br_err_prefix(&message.outcome, "%s", remote->what);
        message.outcome.os_errno = message.outcome.code == BR_E_NOT_FOUND ? ENOENT : 0;
    }
    struct question *question = question_of(remote, message.number);
    struct remote_get *get = question ? NULL : get_of(remote, message.number);
    if (message.type == BR_STORE_WIRE_CREDITED) {
        bool plausible = message.value <= remote->sent_bytes && message.value >= remote->credited_bytes;

        remote->credited_bytes = plausible ? message.value : remote->credited_bytes;
        if (!plausible) {
            breaks(remote, "credit for what was not sent", NULL);
        }
    } else if (message.type == BR_STORE_WIRE_ERROR && !message.number) {
        dies(remote, &message.outcome, NULL);
    } else if (question) {
        answer_came(remote, question, &message);
    } else if (get) {
        piece_came(remote, get, &message);
    } else if (message.type == BR_STORE_WIRE_ERROR && message.number <= remote->last_number) {
        remote->write_failed = remote->write_failed.code ? remote->write_failed : message.outcome;
    } else {
        breaks(remote, "an answer that nobody asked for", NULL);
    }
}

static void receive_run(struct br_job *job)
{
    struct remote *remote = job->ctx;
    struct br_channel *channel = &remote->params.channel;

    remote->received = channel->ops->recv(channel->ctx, &remote->in, REMOTE_POLL_NS, &remote->receive_err);
}

static bool is_waiting(const struct remote *remote)
{
    for (const struct question *question = remote->questions; question; question = question->next) {
        if (!question->answered) {
            return true;
        }
    }
    return remote->gets || remote->wants_credit;
}

static void want_message(struct remote *remote);

static void receive_done(struct br_job *job)
{
    struct remote *remote = job->ctx;
    struct br_err err = {0};

    remote->receiving = false;
    if (remote->received > 0) {
        dispatch(remote);
    } else if (remote->received < 0) {
        br_err_prefix(&remote->receive_err, "%s", remote->what);
        dies(remote, &remote->receive_err, NULL);
    } else if (remote->params.cancel && *remote->params.cancel) {
        br_err_set(&err, BR_E_CANCELLED, "waiting for %s", remote->what);
        dies(remote, &err, NULL);
    }
    if (is_waiting(remote)) {
        want_message(remote);
    }
}

static void want_message(struct remote *remote)
{
    if (remote->receiving || remote->dead.code) {
        return;
    }
    remote->receiving = true;
    remote->job = (struct br_job){.run = receive_run, .done = receive_done, .ctx = remote};
    br_ring_job(remote->params.ring, &remote->job);
}

// Asking ------------------------------------------------------------------------------------------------------------------------------

static int say(struct remote *remote, const struct br_store_wire *message, struct br_err *reterr)
{
    struct br_err err = {0};
    int rc = is_dead(remote, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = br_store_wire_send(&remote->params.channel, message, &err);
    if (rc < 0) {
        br_err_prefix(&err, "%s", remote->what);
        return dies(remote, &err, reterr);
    }
    return 0;
}

static int ask_begin(struct remote *remote, struct br_store_wire *message, struct question *question,
                     struct br_err *reterr)
{
    message->number = question->number = ++remote->last_number;
    question->next = remote->questions;
    remote->questions = question;
    return say(remote, message, reterr);
}

// Waits for the answer to what ask_begin() said, and returned; it is in @question, its names are the caller's to free.
static int ask_end(struct remote *remote, struct question *question, int said, struct br_err *reterr)
{
    struct question **at = &remote->questions;
    int rc = said;

    while (!rc && !question->answered) {
        want_message(remote);
        br_ring_wait(remote->params.ring, UINT64_MAX);
        rc = question->answered ? 0 : is_dead(remote, reterr);
    }
    while (*at != question) {
        at = &(*at)->next;
    }
    *at = question->next;
    if (!rc && question->answer.outcome.code) {
        rc = -question->answer.outcome.code;
        if (reterr) {
            *reterr = question->answer.outcome;
        }
    }
    return rc;
}

static int ask(struct remote *remote, struct br_store_wire *message, struct question *question, struct br_err *reterr)
{
    int said = ask_begin(remote, message, question, reterr);

    return ask_end(remote, question, said, reterr);
}

static int set_name(struct br_store_wire *message, const char *name, struct br_err *reterr)
{
    return snprintf(message->name, sizeof(message->name), "%s", name) < (int)sizeof(message->name)
               ? 0
               : br_err_set(reterr, BR_E_USAGE, "not the name of an object: '%.100s'", name);
}

static int ask_about(struct remote *remote, enum br_store_wire_type type, const char *name,
                     enum br_store_wire_type wanted, uint64_t *ret_value, struct br_err *reterr)
{
    struct br_store_wire message = {.type = type};
    struct question question = {.wanted = wanted};
    int rc = set_name(&message, name, reterr);

    rc = rc < 0 ? rc : ask(remote, &message, &question, reterr);
    if (!rc && ret_value) {
        *ret_value = question.answer.value;
    }
    return rc;
}

static int remote_size(void *ctx, const char *name, uint64_t *ret_bytes, struct br_err *reterr)
{
    return ask_about(ctx, BR_STORE_WIRE_SIZE, name, BR_STORE_WIRE_NUMBER, ret_bytes, reterr);
}

// All are asked before the first answer is waited for.
static void remote_ask_each(void *ctx, struct br_store_ask *asks, size_t count)
{
    struct remote *remote = ctx;
    struct question *questions = calloc(count, sizeof(*questions));

    for (size_t i = 0; i < count; i++) {
        struct br_store_wire message = {.type = asks[i].arrived ? BR_STORE_WIRE_ARRIVED : BR_STORE_WIRE_SIZE};

        asks[i].result = questions ? set_name(&message, asks[i].name, &asks[i].err)
                                   : br_err_set(&asks[i].err, BR_E_NOMEM, "questions about objects");
        if (!asks[i].result && questions) {
            questions[i].wanted = BR_STORE_WIRE_NUMBER;
            asks[i].result = ask_begin(remote, &message, &questions[i], &asks[i].err);
        }
    }
    for (size_t i = 0; questions && i < count; i++) {
        if (questions[i].number) {
            asks[i].result = ask_end(remote, &questions[i], asks[i].result, &asks[i].err);
            asks[i].value = questions[i].answer.value;
        }
    }
    free(questions);
}

static int remote_arrived(void *ctx, const char *name, uint64_t *ret_unix_ns, struct br_err *reterr)
{
    return ask_about(ctx, BR_STORE_WIRE_ARRIVED, name, BR_STORE_WIRE_NUMBER, ret_unix_ns, reterr);
}

static int remote_space(void *ctx, uint64_t *ret_free_bytes, struct br_err *reterr)
{
    return ask_about(ctx, BR_STORE_WIRE_SPACE, "", BR_STORE_WIRE_NUMBER, ret_free_bytes, reterr);
}

static int remote_remove(void *ctx, const char *name, struct br_err *reterr)
{
    return ask_about(ctx, BR_STORE_WIRE_REMOVE, name, BR_STORE_WIRE_DONE, NULL, reterr);
}

// Ascending by components, as a directory is listed.
static bool is_after(const char *name, const char *before)
{
    while (*name && *name == *before) {
        name++;
        before++;
    }
    return (*name == '/' ? 1 : (unsigned char)*name) > (*before == '/' ? 1 : (unsigned char)*before);
}

static int remote_list(void *ctx, const char *prefix, br_store_list_fn *fn, void *fn_ctx, struct br_err *reterr)
{
    struct remote *remote = ctx;
    struct br_store_wire message = {.type = BR_STORE_WIRE_LIST};
    struct question question = {.wanted = BR_STORE_WIRE_DONE, .list = true};
    char name[BR_OBJECT_NAME_BYTES], before[BR_OBJECT_NAME_BYTES] = "";
    int rc = set_name(&message, prefix, reterr);

    rc = rc < 0 ? rc : ask(remote, &message, &question, reterr);
    struct br_reader names = br_reader_init(question.names.data, question.names.len);
    while (!rc && br_store_wire_next_name(&names, name)) {
        if (strncmp(name, prefix, strlen(prefix)) != 0 || !is_after(name, before)) {
            rc = breaks(remote, "names that were not asked for, or twice", reterr);
            break;
        }
        memcpy(before, name, sizeof(before));
        rc = fn(fn_ctx, name);
    }
    if (!rc && !br_reader_done(&names)) {
        rc = breaks(remote, "names that are none", reterr);
    }
    br_buf_free(&question.names);
    return rc;
}

static int remote_put(void *ctx, const char *name, const void *bytes, size_t len, struct br_err *reterr)
{
    struct br_store_wire message = {.type = BR_STORE_WIRE_PUT, .bytes = bytes, .bytes_len = len};
    struct question question = {.wanted = BR_STORE_WIRE_DONE};
    int rc = set_name(&message, name, reterr);

    if (!rc && len > BR_OBJECT_BYTES_MAX) {
        rc = br_err_set(reterr, BR_E_LIMIT, "%s: an object of %zu bytes", name, len);
    }
    return rc < 0 ? rc : ask(ctx, &message, &question, reterr);
}

static void remote_get(void *ctx, struct br_store_get *get)
{
    struct remote *remote = ctx;
    struct remote_get *asked = calloc(1, sizeof(*asked));
    struct br_store_wire message = {.type = BR_STORE_WIRE_GET};
    uint32_t pieces =
        (uint32_t)BR_MAX((get->len_bytes + BR_STORE_WIRE_PIECE_MAX - 1) / BR_STORE_WIRE_PIECE_MAX, (size_t)1);
    struct br_err err = {0};

    get->result = 0;
    int rc = asked ? is_dead(remote, &err) : br_err_set(&err, BR_E_NOMEM, "reading %s", get->name);
    rc = rc < 0 ? rc : set_name(&message, get->name, &err);
    if (rc < 0) {
        free(asked);
        get_fail(get, &err);
        br_store_refuse(remote->params.ring, get);
        return;
    }
    assert(asked); // or it was refused
    *asked = (struct remote_get){
        .next = remote->gets, .get = get, .first = remote->last_number + 1, .pieces = pieces, .left = pieces};
    remote->gets = asked;
    remote->last_number += pieces;
    uint32_t number = remote->last_number - pieces;
    // A failure to send ends all reads, this one too.
    for (size_t at = 0; !rc && pieces--; at += message.len_bytes) {
        message.number = ++number;
        message.value = get->offset_bytes + at;
        message.len_bytes = (uint32_t)BR_MIN((size_t)BR_STORE_WIRE_PIECE_MAX, get->len_bytes - at);
        rc = say(remote, &message, NULL);
    }
    want_message(remote);
}

// Writing -----------------------------------------------------------------------------------------------------------------------------

static int remote_write_open(void *ctx, const char *name, void **ret_write, struct br_err *reterr)
{
    struct remote *remote = ctx;
    struct br_store_wire message = {.type = BR_STORE_WIRE_BEGIN};
    struct remote_write *write = calloc(1, sizeof(*write));
    int rc = write ? set_name(&message, name, reterr) : br_err_set(reterr, BR_E_NOMEM, "writing %s", name);

    if (!rc && write) {
        message.number = write->number = ++remote->last_number;
        rc = say(remote, &message, reterr);
    }
    if (rc < 0) {
        free(write);
        return rc;
    }
    *ret_write = write;
    return 0;
}

static int wait_for_credit(struct remote *remote, size_t len, struct br_err *reterr)
{
    int rc = is_dead(remote, reterr);

    remote->wants_credit = true;
    while (!rc && remote->sent_bytes - remote->credited_bytes + len > remote->credit_bytes) {
        want_message(remote);
        br_ring_wait(remote->params.ring, UINT64_MAX);
        rc = is_dead(remote, reterr);
    }
    remote->wants_credit = false;
    return rc;
}

static int remote_write(void *ctx, void *writing, struct br_buf *bytes, struct br_err *reterr)
{
    struct remote *remote = ctx;
    const struct remote_write *write = writing;
    int rc = br_buf_failed(bytes) ? br_err_set(reterr, BR_E_NOMEM, "writing to %s", remote->what) : 0;

    for (size_t at = 0; !rc && at < bytes->len;) {
        struct br_store_wire piece = {
            .type = BR_STORE_WIRE_PIECE,
            .number = write->number,
            .bytes = bytes->data + at,
            .bytes_len = BR_MIN(bytes->len - at, (size_t)BR_STORE_WIRE_PIECE_MAX),
        };

        rc = wait_for_credit(remote, piece.bytes_len, reterr);
        if (!rc && remote->write_failed.code) {
            rc = -remote->write_failed.code;
            if (reterr) {
                *reterr = remote->write_failed;
            }
        }
        rc = rc < 0 ? rc : say(remote, &piece, reterr);
        remote->sent_bytes += rc < 0 ? 0 : piece.bytes_len;
        at += piece.bytes_len;
    }
    br_buf_free(bytes);
    return rc;
}

static void remote_write_close(void *ctx, void *writing, bool keep)
{
    struct remote *remote = ctx;
    struct remote_write *write = writing;
    const struct br_store_wire message = {.type = BR_STORE_WIRE_END, .number = write->number, .keep = keep};

    (void)!say(remote, &message, NULL); // a channel that is lost is told by settle
    free(write);
}

static int remote_settle(void *ctx, struct br_err *reterr)
{
    struct remote *remote = ctx;
    struct br_store_wire message = {.type = BR_STORE_WIRE_SETTLE};
    struct question question = {.wanted = BR_STORE_WIRE_DONE};
    int rc = ask(remote, &message, &question, reterr);

    if (!rc && remote->write_failed.code) {
        rc = -remote->write_failed.code;
        if (reterr) {
            *reterr = remote->write_failed;
        }
    }
    remote->write_failed = (struct br_err){0};
    return rc;
}

static void remote_close(void *ctx)
{
    struct remote *remote = ctx;
    const struct br_store_wire bye = {.type = BR_STORE_WIRE_BYE};

    while (remote->receiving) {
        br_ring_wait(remote->params.ring, UINT64_MAX);
    }
    (void)!say(remote, &bye, NULL);
    remote->params.channel.ops->close(remote->params.channel.ctx);
    br_buf_free(&remote->in);
    free(remote);
}

// Opening -----------------------------------------------------------------------------------------------------------------------------

static int greet(struct remote *remote, struct br_err *reterr)
{
    const struct br_store_remote_params *params = &remote->params;
    struct br_store_wire message = {
        .type = BR_STORE_WIRE_OPEN,
        .open = {.version_min = BR_STORE_WIRE_VERSION,
                 .version_max = BR_STORE_WIRE_VERSION,
                 .role = params->write ? BR_ROLE_WRITER : BR_ROLE_READER},
    };
    struct question question = {.wanted = BR_STORE_WIRE_OPENED};

    if (snprintf(message.open.repository, sizeof(message.open.repository), "%s", params->repository) >=
        (int)sizeof(message.open.repository)) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s: no repository has a name as long", remote->what);
    }
    snprintf(message.program, sizeof(message.program), "%s", params->program ? params->program : "blkrep");
    int rc = ask(remote, &message, &question, reterr);
    remote->credit_bytes = question.answer.opened.credit_bytes;
    return rc;
}

int br_store_remote_open(const struct br_store_remote_params *params, struct br_store *ret_store, struct br_err *reterr)
{
    static const struct br_store_ops ops = {
        .put = remote_put,
        .write_open = remote_write_open,
        .write = remote_write,
        .write_close = remote_write_close,
        .settle = remote_settle,
        .get = remote_get,
        .size = remote_size,
        .ask_each = remote_ask_each,
        .list = remote_list,
        .arrived = remote_arrived,
        .remove = remote_remove,
        .space = remote_space,
        .close = remote_close,
    };
    struct remote *remote = calloc(1, sizeof(*remote));

    if (!remote) {
        params->channel.ops->close(params->channel.ctx);
        return br_err_set(reterr, BR_E_NOMEM, "a store");
    }
    remote->params = *params;
    snprintf(remote->what, sizeof(remote->what), "%s", params->what);
    int rc = greet(remote, reterr);
    if (rc < 0) {
        remote_close(remote);
        return rc;
    }
    *ret_store = (struct br_store){.ops = &ops, .ctx = remote, .ring = params->ring};
    return 0;
}
