// SPDX-License-Identifier: Apache-2.0
#include "engine/net/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/net/clock.h"

static bool br_address_port(const char *text, unsigned lowest, uint16_t *ret_port)
{
    unsigned value = 0;

    if (!*text || strlen(text) > 5) {
        return false;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9') {
            return false;
        }
        value = value * 10 + (unsigned)(*text - '0');
    }
    if (value < lowest || value > 65535) {
        return false;
    }
    *ret_port = (uint16_t)value;
    return true;
}

static bool br_address_host(const char *text, size_t len, bool literal, struct br_address *address)
{
    if (!len || len >= sizeof(address->host)) {
        return false;
    }
    bool zone = false; // behind '%' stands the name of an interface, whose case counts
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!isalnum((unsigned char)c) && c != '.' && c != '-' && c != '_' && !(literal && (c == ':' || c == '%'))) {
            return false;
        }
        zone = zone || c == '%';
        address->host[i] = zone ? c : (char)tolower((unsigned char)c);
    }
    address->host[len] = '\0';
    return address->host[0] != '-';
}

static int br_address_read(const char *text, bool listener, struct br_address *ret_address, struct br_err *reterr)
{
    struct br_address address = {.port = BR_PORT_DEFAULT};
    const char *port = NULL, *end;
    char shown[160];
    bool ok;

    br_quote(text, shown, sizeof(shown));
    if (text[0] == '[') {
        end = strchr(text, ']');
        ok = end && br_address_host(text + 1, (size_t)(end - text - 1), true, &address) && strchr(address.host, ':') &&
             (!end[1] || end[1] == ':');
        port = ok && end[1] ? end + 2 : NULL;
    } else if ((end = strchr(text, ':')) && strchr(end + 1, ':')) {
        ok = br_address_host(text, strlen(text), true, &address);
    } else {
        size_t len = end ? (size_t)(end - text) : strlen(text);
        bool any = listener && (len == 0 || (len == 1 && text[0] == '*'));
        ok = any || br_address_host(text, len, false, &address);
        port = end ? end + 1 : NULL;
    }
    if (!ok) {
        return br_err_set(reterr, BR_E_USAGE, "'%s' is not HOST, HOST:PORT or [IPV6]:PORT", shown);
    }
    if (port && !br_address_port(port, listener ? 0 : 1, &address.port)) {
        return br_err_set(reterr, BR_E_USAGE, "'%s' has a port that is not a number from 1 to 65535", shown);
    }
    *ret_address = address;
    return 0;
}

int br_address_parse(const char *text, struct br_address *ret_address, struct br_err *reterr)
{
    return br_address_read(text, false, ret_address, reterr);
}

int br_address_parse_listen(const char *text, struct br_address *ret_address, struct br_err *reterr)
{
    return br_address_read(text, true, ret_address, reterr);
}

void br_address_text(const struct br_address *address, char text[BR_ADDRESS_TEXT_BYTES])
{
    const char *form = strchr(address->host, ':') ? "[%s]:%u" : "%s:%u";

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, BR_ADDRESS_TEXT_BYTES, form, *address->host ? address->host : "*", address->port);
#pragma GCC diagnostic pop
}

static int br_address_resolve(const struct br_address *address, int flags, struct addrinfo **ret_list,
                              struct br_err *reterr)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    char port[8];
    int rc;

    snprintf(port, sizeof(port), "%u", address->port);
    rc = getaddrinfo(*address->host ? address->host : NULL, port, &hints, ret_list);
    if (rc == EAI_SYSTEM) {
        return br_err_os(reterr, errno, "looking up %s", address->host);
    }
    if (rc) {
        return br_err_set(reterr, flags & AI_PASSIVE ? BR_E_NOT_FOUND : BR_E_PEER, "looking up %s: %s", address->host,
                          gai_strerror(rc));
    }
    return 0;
}

// One try. Returns a positive errno, or 0 and the socket.
static int br_address_try(const struct addrinfo *to, uint64_t deadline_ns, const volatile bool *cancel, int *ret_fd)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int failed = 0;

    if (fd < 0) {
        return errno;
    }
    if (connect(fd, to->ai_addr, to->ai_addrlen)) {
        failed = errno;
        while (failed == EINPROGRESS || failed == EINTR) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            int ms = br_clock_look_ms(deadline_ns, cancel);
            if (ms == 0) {
                failed = ETIMEDOUT;
            } else if (br_clock_cancelled(cancel)) {
                failed = ECANCELED;
            } else if (poll(&wait, 1, ms) > 0) {
                socklen_t len = sizeof(failed);
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len);
            }
        }
    }
    if (failed) {
        close(fd);
        return failed;
    }
    *ret_fd = fd;
    return 0;
}

int br_address_connect(const struct br_address *address, uint64_t timeout_ns, const volatile bool *cancel, int *ret_fd,
                       struct br_err *reterr)
{
    uint64_t deadline_ns = br_clock_ns() + timeout_ns;
    char shown[BR_ADDRESS_TEXT_BYTES];
    struct addrinfo *list = NULL;
    unsigned left = 0;
    int failed = 0, rc = br_address_resolve(address, AI_ADDRCONFIG, &list, reterr);

    if (rc) {
        return rc;
    }
    for (struct addrinfo *to = list; to; to = to->ai_next) {
        left++;
    }
    for (struct addrinfo *to = list; to; to = to->ai_next, left--) {
        uint64_t now = br_clock_ns();
        uint64_t share = deadline_ns > now ? (deadline_ns - now) / left : 0;
        failed = br_address_try(to, now + share, cancel, ret_fd);
        if (!failed || failed == ECANCELED) {
            break;
        }
    }
    freeaddrinfo(list);
    if (failed) {
        br_address_text(address, shown);
        return failed == ETIMEDOUT || failed == ECANCELED
                   ? br_err_os(reterr, failed, "connecting to %s", shown)
                   : br_err_set(reterr, BR_E_PEER, "connecting to %s: %s", shown, strerror(failed));
    }
    return 0;
}

// @alone  an IPv6 socket that leaves IPv4 to another one; without it `[::]` takes both
static int br_address_bind(const struct addrinfo *to, bool alone, uint16_t *port, int *ret_fd)
{
    struct sockaddr_storage at = {0};
    socklen_t len = to->ai_addrlen;
    int on = 1, v6only = alone, fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return errno;
    }
    memcpy(&at, to->ai_addr, len);
    uint16_t *at_port = to->ai_family == AF_INET6 ? &((struct sockaddr_in6 *)(void *)&at)->sin6_port
                                                  : &((struct sockaddr_in *)(void *)&at)->sin_port;
    if (!*at_port) {
        *at_port = htons(*port); // 0 for the first, then all have the one that it got
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (to->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
    }
    if (bind(fd, (struct sockaddr *)&at, len) || listen(fd, 64) || getsockname(fd, (struct sockaddr *)&at, &len)) {
        int failed = errno;
        close(fd);
        return failed;
    }
    *port = ntohs(*at_port);
    *ret_fd = fd;
    return 0;
}

int br_address_listen(const struct br_address *address, int ret_fds[BR_LISTEN_FDS_MAX], uint16_t *ret_port,
                      struct br_err *reterr)
{
    char shown[BR_ADDRESS_TEXT_BYTES];
    struct addrinfo *list = NULL;
    uint16_t port = address->port;
    int count = 0, failed = 0, absent = 0, rc = br_address_resolve(address, AI_PASSIVE, &list, reterr);

    if (rc) {
        return rc;
    }
    for (struct addrinfo *to = list; to && count < BR_LISTEN_FDS_MAX && !failed; to = to->ai_next) {
        int one = br_address_bind(to, list->ai_next != NULL, &port, &ret_fds[count]);
        if (one == EAFNOSUPPORT || one == EADDRNOTAVAIL) {
            absent = one; // a host without IPv6 still listens on IPv4, and the other way round
        } else if (one) {
            failed = one;
        } else {
            count++;
        }
    }
    freeaddrinfo(list);
    if (failed || !count) {
        failed = failed ? failed : absent;
        while (count > 0) {
            close(ret_fds[--count]);
        }
        br_address_text(address, shown);
        if (failed == EADDRINUSE) {
            return br_err_set(reterr, BR_E_BUSY, "listening on %s: another process has this port", shown);
        }
        return br_err_os(reterr, failed, "listening on %s", shown);
    }
    *ret_port = port;
    return count;
}

void br_address_of_fd(int fd, char text[BR_ADDRESS_TEXT_BYTES])
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    struct br_address address = {0};
    char port[8];

    if (getpeername(fd, (struct sockaddr *)&peer, &len) ||
        getnameinfo((struct sockaddr *)&peer, len, address.host, sizeof(address.host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) ||
        !br_address_port(port, 1, &address.port)) {
        snprintf(text, BR_ADDRESS_TEXT_BYTES, "?");
        return;
    }
    br_address_text(&address, text);
}
