// SPDX-License-Identifier: Apache-2.0
//
// Where a server is: HOST, HOST:PORT, ADDRESS, [ADDRESS]:PORT, with ADDRESS an IPv4 or IPv6 one (a scope id as in fe80::1%eth0 too).
// An IPv6 address without brackets is taken as an address without a port: `::1` is a host, `::1:4777` is another.
#ifndef BR_NET_ADDRESS_H
#define BR_NET_ADDRESS_H

#include "engine/base/err.h"

#define BR_PORT_DEFAULT       4777 // in no /etc/services that Debian ships
#define BR_HOST_BYTES_MAX     254  // of a DNS name (RFC 1035 2.3.4), with the final zero
#define BR_ADDRESS_TEXT_BYTES (BR_HOST_BYTES_MAX + 8)

struct br_address {
    char host[BR_HOST_BYTES_MAX]; // lower case, without brackets; "" on a listener: every interface
    uint16_t port;                // 0 on a listener: the kernel picks one
};

/**
 * br_address_parse - read an address of a peer
 * Errors: -BR_E_USAGE with what is wrong with it
 */
BR_MUST_CHECK int br_address_parse(const char *text, struct br_address *ret_address, struct br_err *reterr);
/** br_address_parse_listen - the same for a listener: also :PORT and *:PORT (every interface) and port 0 */
BR_MUST_CHECK int br_address_parse_listen(const char *text, struct br_address *ret_address, struct br_err *reterr);
/** br_address_text - HOST:PORT or [ADDRESS]:PORT, the port always named */
void br_address_text(const struct br_address *address, char text[BR_ADDRESS_TEXT_BYTES]);

/**
 * br_address_connect - a connected, nonblocking, close-on-exec TCP socket
 * Tries what the name resolves to in turn; @timeout_ns bounds all tries together (the resolver has a limit of its own).
 * @cancel  gives up when it becomes true; NULL: never
 * Errors: -BR_E_PEER nothing there answers, or the name is not known; -BR_E_TIMEOUT; -BR_E_CANCELLED
 */
BR_MUST_CHECK int br_address_connect(const struct br_address *address, uint64_t timeout_ns, const volatile bool *cancel,
                                     int *ret_fd, struct br_err *reterr);

#define BR_LISTEN_FDS_MAX 8
/**
 * br_address_listen - nonblocking, close-on-exec listening sockets, one per address that the name stands for
 * @ret_port  the port that they have, also when @address asks for 0
 * Returns the number of sockets in @ret_fds. Errors: -BR_E_BUSY the port is taken; -BR_E_NOT_FOUND the name; -BR_E_PERMISSION
 */
BR_MUST_CHECK int br_address_listen(const struct br_address *address, int ret_fds[BR_LISTEN_FDS_MAX],
                                    uint16_t *ret_port, struct br_err *reterr);

/** br_address_of_fd - "192.0.2.1:4711" of a socket's far end, "?" when it has none */
void br_address_of_fd(int fd, char text[BR_ADDRESS_TEXT_BYTES]);

#endif
