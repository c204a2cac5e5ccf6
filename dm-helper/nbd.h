// SPDX-License-Identifier: Apache-2.0
//
// The kernel's NBD driver, through its generic netlink family "nbd" (linux/nbd-netlink.h, drivers/block/nbd.c).
//
//     nlmsghdr  genlmsghdr  attributes: each length, type, value, padded to 4 bytes; numbers are in the machine's byte order
//
// Raw netlink, and no libnl: the four commands take some hundred lines, which libnl would shorten by a third; it would bring two libraries
// into the privileged process and into the initramfs, and system calls that the sandbox does not know. The socket is opened before the
// sandbox is entered, so that the filter need not allow to make one. A driver that is not loaded is loaded by the kernel itself when its
// family is asked for (module alias net-pf-16-proto-16-family-nbd), with the parameters of modprobe.d.
//
// Whose a device is: NBD_ATTR_BACKEND_IDENTIFIER, kept by the kernel as long as the device has a configuration, shown in
// /sys/block/nbdN/backend. The kernel itself refuses to reconfigure a device under another identifier, and a disconnect is preceded by a
// look at it under the volume's lock, which all helpers take.
//
// Whether a reconfiguration took a socket the kernel does not say: it answers 0 too when no connection is dead. But to a socket that it
// takes it gives the device's timeout as send timeout (nbd_reconnect_socket() since it exists), so a socket that had none before and has one
// after was taken. That is one reason why a device without timeout is not made; the other is that its farewell could wait for ever for
// a server that reads nothing.
#ifndef DMH_NBD_H
#define DMH_NBD_H

#include "dm-helper/served.h"

#define DMH_NBD_BACKEND_MAX DMH_DM_UUID_MAX

// What a device is to be; request.h says what may be.
struct dmh_nbd_shape {
    uint64_t size_bytes;
    uint64_t block_bytes;
    uint64_t timeout_s;
    uint64_t dead_s;
    uint64_t flags; // NBD_FLAG_* of linux/nbd.h
};

// A message to the kernel under construction.
struct dmh_nbd_message {
    size_t len;
    bool full; // something did not fit: the message is void
    _Alignas(8) uint8_t bytes[1024];
};

/** dmh_nbd_start - the socket to the kernel; -1 where there is none, and every request says so */
int dmh_nbd_start(void);

/**
 * dmh_nbd_make - make a device; *ret_index is N of /dev/nbdN. None carries the identifier yet, and the volume is locked
 * Errors: -BR_E_UNSUPPORTED no driver; the kernel's own
 */
BR_MUST_CHECK int dmh_nbd_make(int netlink_fd, const char *backend, const struct dmh_nbd_shape *shape,
                               const int *sockets, size_t socket_count, uint32_t *ret_index, struct br_err *reterr);
/** dmh_nbd_replace - give the device one socket in place of a dead one; *ret_taken says whether there was a dead one */
BR_MUST_CHECK int dmh_nbd_replace(int netlink_fd, const char *backend, uint32_t index, int socket, bool *ret_taken,
                                  struct br_err *reterr);
/** dmh_nbd_drop - disconnect; may wait for the server as long as the device's timeout */
BR_MUST_CHECK int dmh_nbd_drop(int netlink_fd, uint32_t index, struct br_err *reterr);

/** dmh_nbd_backend - the identifier that a device carries, "" none */
void dmh_nbd_backend(const struct kmc_source *source, uint32_t index, char backend[DMH_NBD_BACKEND_MAX]);
/** dmh_nbd_each - tell of every device that carries an identifier, by number, until @each returns false */
void dmh_nbd_each(const struct kmc_source *source, bool (*each)(void *user, uint32_t index, const char *backend),
                  void *user);
/** dmh_nbd_find - the device that carries an identifier; false none */
bool dmh_nbd_find(const struct kmc_source *source, const char *backend, uint32_t *ret_index);
/** dmh_nbd_connected - has the device a configuration? */
bool dmh_nbd_connected(const struct kmc_source *source, uint32_t index);
/** dmh_nbd_socket_check - is it a connected stream socket, Unix or TCP? -BR_E_USAGE says what it is not */
BR_MUST_CHECK int dmh_nbd_socket_check(int fd, struct br_err *reterr);

/** dmh_nbd_put_connect, dmh_nbd_put_reconfigure - the messages, for tests; *ret_message is full when it does not fit */
void dmh_nbd_put_connect(uint16_t family, const char *backend, const struct dmh_nbd_shape *shape, const int *sockets,
                         size_t socket_count, struct dmh_nbd_message *ret_message);
void dmh_nbd_put_reconfigure(uint16_t family, const char *backend, uint32_t index, int socket,
                             struct dmh_nbd_message *ret_message);
/**
 * dmh_nbd_attribute - the value of an attribute among those from @bytes on, its length in *ret_len; NULL when it is not there
 * Attributes that do not fit into @len end the search.
 */
const uint8_t *dmh_nbd_attribute(const uint8_t *bytes, size_t len, uint16_t type, size_t *ret_len);

#endif
