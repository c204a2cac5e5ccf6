// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/nbd.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define DMH_NBD_ANSWER_S 10 // the kernel answers while it is asked; this only bounds what should not be

// ---- messages --------------------------------------------------------------------------------------------------------

static void dmh_put(struct dmh_nbd_message *message, const void *bytes, size_t len)
{
    size_t padded = NLA_ALIGN(len);

    if (message->full || padded > sizeof(message->bytes) - message->len) {
        message->full = true;
        return;
    }
    memset(message->bytes + message->len, 0, padded);
    memcpy(message->bytes + message->len, bytes, len);
    message->len += padded;
}

static void dmh_put_attribute(struct dmh_nbd_message *message, uint16_t type, const void *value, size_t len)
{
    struct nlattr attribute = {.nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = type};

    dmh_put(message, &attribute, sizeof(attribute));
    dmh_put(message, value, len);
}

static void dmh_put_u32(struct dmh_nbd_message *message, uint16_t type, uint32_t value)
{
    dmh_put_attribute(message, type, &value, sizeof(value));
}

static void dmh_put_u64(struct dmh_nbd_message *message, uint16_t type, uint64_t value)
{
    dmh_put_attribute(message, type, &value, sizeof(value));
}

static void dmh_put_text(struct dmh_nbd_message *message, uint16_t type, const char *text)
{
    dmh_put_attribute(message, type, text, strlen(text) + 1);
}

// An attribute that holds attributes: where it began, for dmh_put_end().
static size_t dmh_put_begin(struct dmh_nbd_message *message, uint16_t type)
{
    size_t start = message->len;

    dmh_put_attribute(message, type, "", 0);
    return start;
}

static void dmh_put_end(struct dmh_nbd_message *message, size_t start)
{
    struct nlattr attribute;

    if (!message->full) {
        memcpy(&attribute, message->bytes + start, sizeof(attribute));
        attribute.nla_len = (uint16_t)(message->len - start);
        memcpy(message->bytes + start, &attribute, sizeof(attribute));
    }
}

static void dmh_put_head(struct dmh_nbd_message *message, uint16_t family, uint8_t command, uint8_t version)
{
    struct nlmsghdr header = {.nlmsg_type = family, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
    struct genlmsghdr generic = {.cmd = command, .version = version};

    message->len = 0;
    message->full = false;
    dmh_put(message, &header, sizeof(header));
    dmh_put(message, &generic, sizeof(generic));
}

static void dmh_put_sockets(struct dmh_nbd_message *message, const int *sockets, size_t socket_count)
{
    size_t all = dmh_put_begin(message, NBD_ATTR_SOCKETS);

    for (size_t i = 0; i < socket_count; i++) {
        size_t one = dmh_put_begin(message, NBD_SOCK_ITEM);
        dmh_put_u32(message, NBD_SOCK_FD, (uint32_t)sockets[i]);
        dmh_put_end(message, one);
    }
    dmh_put_end(message, all);
}

void dmh_nbd_put_connect(uint16_t family, const char *backend, const struct dmh_nbd_shape *shape, const int *sockets,
                         size_t socket_count, struct dmh_nbd_message *ret_message)
{
    dmh_put_head(ret_message, family, NBD_CMD_CONNECT, NBD_GENL_VERSION);
    dmh_put_u64(ret_message, NBD_ATTR_SIZE_BYTES, shape->size_bytes);
    dmh_put_u64(ret_message, NBD_ATTR_BLOCK_SIZE_BYTES, shape->block_bytes);
    dmh_put_u64(ret_message, NBD_ATTR_TIMEOUT, shape->timeout_s);
    dmh_put_u64(ret_message, NBD_ATTR_DEAD_CONN_TIMEOUT, shape->dead_s);
    dmh_put_u64(ret_message, NBD_ATTR_SERVER_FLAGS, shape->flags);
    dmh_put_text(ret_message, NBD_ATTR_BACKEND_IDENTIFIER, backend);
    dmh_put_sockets(ret_message, sockets, socket_count);
}

void dmh_nbd_put_reconfigure(uint16_t family, const char *backend, uint32_t index, int socket,
                             struct dmh_nbd_message *ret_message)
{
    dmh_put_head(ret_message, family, NBD_CMD_RECONFIGURE, NBD_GENL_VERSION);
    dmh_put_u32(ret_message, NBD_ATTR_INDEX, index);
    dmh_put_text(ret_message, NBD_ATTR_BACKEND_IDENTIFIER, backend);
    dmh_put_sockets(ret_message, &socket, 1);
}

const uint8_t *dmh_nbd_attribute(const uint8_t *bytes, size_t len, uint16_t type, size_t *ret_len)
{
    struct nlattr attribute;

    while (len >= sizeof(attribute)) {
        memcpy(&attribute, bytes, sizeof(attribute));
        if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > len) {
            return NULL;
        }
        if ((attribute.nla_type & NLA_TYPE_MASK) == type) {
            *ret_len = attribute.nla_len - sizeof(attribute);
            return bytes + sizeof(attribute);
        }
        size_t step = BR_MIN((size_t)NLA_ALIGN(attribute.nla_len), len);
        bytes += step;
        len -= step;
    }
    return NULL;
}

// ---- the dialogue ----------------------------------------------------------------------------------------------------

// A number that the kernel's answer is to bring.
struct dmh_wanted {
    uint16_t type;
    size_t size; // 2 or 4 bytes
    bool found;
    uint32_t value;
};

int dmh_nbd_start(void)
{
    struct timeval wait = {.tv_sec = DMH_NBD_ANSWER_S};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void dmh_take_wanted(const uint8_t *payload, size_t len, struct dmh_wanted *wanted)
{
    size_t value_len = 0;
    const uint8_t *value = len >= GENL_HDRLEN
                               ? dmh_nbd_attribute(payload + GENL_HDRLEN, len - GENL_HDRLEN, wanted->type, &value_len)
                               : NULL;
    uint16_t u16;

    if (!value || value_len < wanted->size) {
        return;
    }
    if (wanted->size == sizeof(u16)) {
        memcpy(&u16, value, sizeof(u16));
        wanted->value = u16;
    } else {
        memcpy(&wanted->value, value, sizeof(wanted->value));
    }
    wanted->found = true;
}

// One datagram of the kernel's: 1 when it ends the dialogue, 0 when more is to come, a negative errno.
static int dmh_take_answer(const uint8_t *bytes, size_t len, uint32_t sequence, struct dmh_wanted *wanted)
{
    struct nlmsghdr header;
    struct nlmsgerr outcome;

    while (len >= sizeof(header)) {
        memcpy(&header, bytes, sizeof(header));
        if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > len) {
            return -EPROTO;
        }
        const uint8_t *payload = bytes + NLMSG_HDRLEN;
        size_t payload_len = header.nlmsg_len - sizeof(header);
        if (header.nlmsg_seq == sequence && header.nlmsg_type == NLMSG_ERROR) {
            if (payload_len < sizeof(outcome.error)) {
                return -EPROTO;
            }
            memcpy(&outcome.error, payload, sizeof(outcome.error));
            return outcome.error ? -abs(outcome.error) : 1;
        }
        if (header.nlmsg_seq == sequence && wanted) {
            dmh_take_wanted(payload, payload_len, wanted);
        }
        size_t step = BR_MIN((size_t)NLMSG_ALIGN(header.nlmsg_len), len);
        bytes += step;
        len -= step;
    }
    return 0;
}

// 0 or a negative errno, the kernel's or of the way to it.
static int dmh_ask_kernel(int netlink_fd, struct dmh_nbd_message *message, struct dmh_wanted *wanted)
{
    static uint32_t sequence;
    struct nlmsghdr header;
    uint8_t answer[8192]; // a family's description is the longest
    int done = 0;

    if (message->full) {
        return -EMSGSIZE;
    }
    memcpy(&header, message->bytes, sizeof(header));
    header.nlmsg_len = (uint32_t)message->len;
    header.nlmsg_seq = ++sequence;
    memcpy(message->bytes, &header, sizeof(header));
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(netlink_fd, message->bytes, message->len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
        return -errno;
    }
    while (!done) {
        struct sockaddr_nl from = {.nl_pid = 0};
        socklen_t from_len = sizeof(from);
        ssize_t len = recvfrom(netlink_fd, answer, sizeof(answer), MSG_TRUNC, (struct sockaddr *)&from, &from_len);
        if (len < 0 && errno != EINTR) {
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        if (len > (ssize_t)sizeof(answer)) {
            return -EMSGSIZE;
        }
        // Anybody may send to this socket; only the kernel has the number 0.
        done = len > 0 && !from.nl_pid ? dmh_take_answer(answer, (size_t)len, header.nlmsg_seq, wanted) : 0;
    }
    return done < 0 ? done : 0;
}

// The number under which the family is registered; asked for each time, for the driver may have been loaded anew.
static int dmh_family(int netlink_fd, uint16_t *ret_family, struct br_err *reterr)
{
    struct dmh_wanted wanted = {.type = CTRL_ATTR_FAMILY_ID, .size = sizeof(uint16_t)};
    struct dmh_nbd_message message;

    if (netlink_fd < 0) {
        return br_err_set(reterr, BR_E_UNSUPPORTED,
                          "the kernel's NBD driver can't be reached: no generic netlink here");
    }
    dmh_put_head(&message, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
    dmh_put_text(&message, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME);
    int failed = dmh_ask_kernel(netlink_fd, &message, &wanted);
    if (failed == -ENOENT) {
        return dmh_no_driver(KMC_NBD, reterr);
    }
    if (failed || !wanted.found) {
        return br_err_os(reterr, failed ? -failed : EPROTO, "asking for the kernel's NBD driver");
    }
    *ret_family = (uint16_t)wanted.value;
    return 0;
}

// ---- devices ---------------------------------------------------------------------------------------------------------

int dmh_nbd_make(int netlink_fd, const char *backend, const struct dmh_nbd_shape *shape, const int *sockets,
                 size_t socket_count, uint32_t *ret_index, struct br_err *reterr)
{
    struct dmh_wanted wanted = {.type = NBD_ATTR_INDEX, .size = sizeof(uint32_t)};
    struct dmh_nbd_message message;
    char kept[DMH_NBD_BACKEND_MAX];
    uint16_t family = 0;

    int error = dmh_family(netlink_fd, &family, reterr);
    if (error) {
        return error;
    }
    dmh_nbd_put_connect(family, backend, shape, sockets, socket_count, &message);
    int failed = dmh_ask_kernel(netlink_fd, &message, &wanted);
    if (failed) {
        // Where the answer was lost there may be one all the same; nobody had one of this name before.
        uint32_t stray;
        if (dmh_nbd_find(&kmc_running, backend, &stray)) {
            (void)!dmh_nbd_drop(netlink_fd, stray, NULL);
        }
        return br_err_os(reterr, -failed, "making an NBD device");
    }
    // Its number is not told when memory is short; then the name leads to it.
    uint32_t index = wanted.value;
    if (!wanted.found && !dmh_nbd_find(&kmc_running, backend, &index)) {
        return br_err_set(reterr, BR_E_INTERNAL, "an NBD device was made, but the kernel did not say which");
    }
    dmh_nbd_backend(&kmc_running, index, kept);
    if (strcmp(kept, backend) != 0) {
        (void)!dmh_nbd_drop(netlink_fd, index, NULL);
        return br_err_set(reterr, BR_E_UNSUPPORTED,
                          "this kernel's NBD driver does not keep whose a device is: Linux 5.14 or later is needed");
    }
    *ret_index = index;
    return 0;
}

int dmh_nbd_replace(int netlink_fd, const char *backend, uint32_t index, int socket, bool *ret_taken,
                    struct br_err *reterr)
{
    struct timeval wait = {.tv_sec = 0};
    socklen_t wait_size = sizeof(wait);
    struct dmh_nbd_message message;
    uint16_t family = 0;

    int error = dmh_family(netlink_fd, &family, reterr);
    if (error) {
        return error;
    }
    if (setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait))) {
        return br_err_os(reterr, errno, "preparing a socket for NBD");
    }
    dmh_nbd_put_reconfigure(family, backend, index, socket, &message);
    int failed = dmh_ask_kernel(netlink_fd, &message, NULL);
    if (failed) {
        return br_err_os(reterr, -failed, "reconnecting /dev/nbd%" PRIu32, index);
    }
    if (getsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &wait, &wait_size)) {
        return br_err_os(reterr, errno, "looking at a socket for NBD");
    }
    *ret_taken = wait.tv_sec || wait.tv_usec;
    return 0;
}

int dmh_nbd_drop(int netlink_fd, uint32_t index, struct br_err *reterr)
{
    struct dmh_nbd_message message;
    uint16_t family = 0;

    int error = dmh_family(netlink_fd, &family, reterr);
    if (error) {
        return error;
    }
    dmh_put_head(&message, family, NBD_CMD_DISCONNECT, NBD_GENL_VERSION);
    dmh_put_u32(&message, NBD_ATTR_INDEX, index);
    int failed = dmh_ask_kernel(netlink_fd, &message, NULL);
    return failed ? br_err_os(reterr, -failed, "disconnecting /dev/nbd%" PRIu32, index) : 0;
}

void dmh_nbd_backend(const struct kmc_source *source, uint32_t index, char backend[DMH_NBD_BACKEND_MAX])
{
    char path[64];

    snprintf(path, sizeof(path), DMH_BLOCK_FOLDER "/nbd%" PRIu32 "/backend", index);
    if (kmc_read(source, path, backend, DMH_NBD_BACKEND_MAX) < 0) {
        *backend = 0;
    }
}

void dmh_nbd_each(const struct kmc_source *source, bool (*each)(void *user, uint32_t index, const char *backend),
                  void *user)
{
    char **names;
    size_t count = kmc_list(source, DMH_BLOCK_FOLDER, &names);
    bool more = true;

    for (size_t i = 0; i < count && more; i++) {
        char backend[DMH_NBD_BACKEND_MAX];
        uint32_t index;
        int end = 0;
        // Not a partition, which has more behind the number.
        if (sscanf(names[i], "nbd%" SCNu32 "%n", &index, &end) == 1 && !names[i][end]) {
            dmh_nbd_backend(source, index, backend);
            more = !*backend || each(user, index, backend);
        }
    }
    kmc_list_free(names, count);
}

struct dmh_backend_search {
    const char *backend;
    uint32_t index;
    bool found;
};

static bool dmh_try_backend(void *user, uint32_t index, const char *backend)
{
    struct dmh_backend_search *search = user;

    search->found = !strcmp(backend, search->backend);
    search->index = index;
    return !search->found;
}

bool dmh_nbd_find(const struct kmc_source *source, const char *backend, uint32_t *ret_index)
{
    struct dmh_backend_search search = {.backend = backend};

    dmh_nbd_each(source, dmh_try_backend, &search);
    if (search.found) {
        *ret_index = search.index;
    }
    return search.found;
}

bool dmh_nbd_connected(const struct kmc_source *source, uint32_t index)
{
    char path[64];

    // The kernel shows who made the configuration as long as there is one.
    snprintf(path, sizeof(path), DMH_BLOCK_FOLDER "/nbd%" PRIu32 "/pid", index);
    return kmc_exists(source, path);
}

// ---- sockets ---------------------------------------------------------------------------------------------------------

static int dmh_socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) ? -1 : value;
}

int dmh_nbd_socket_check(int fd, struct br_err *reterr)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};
    int domain = dmh_socket_option(fd, SO_DOMAIN);

    if (dmh_socket_option(fd, SO_TYPE) != SOCK_STREAM ||
        (domain != AF_UNIX && domain != AF_INET && domain != AF_INET6)) {
        return br_err_set(reterr, BR_E_USAGE, "what was passed for NBD is no stream socket, Unix or TCP");
    }
    // Hung up is what was never connected, what listens, and what lost its peer.
    if (dmh_socket_option(fd, SO_ACCEPTCONN) || poll(&poll_fd, 1, 0) < 0 ||
        (poll_fd.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL))) {
        return br_err_set(reterr, BR_E_USAGE, "a socket that was passed for NBD is not connected");
    }
    return 0;
}
