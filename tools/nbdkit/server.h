// SPDX-License-Identifier: Apache-2.0
//
// nbdkit as a child process that serves one recovery point: for export, and below mount and files.
//
//     blkrep -- starts, waits for "clients can come", ends --> nbdkit + nbdkit-blkrep-plugin.so (+ cow filter) -- socket --> clients
//
// It ends with blkrep, however that ends. The secret goes by a descriptor (repository_secret_hand_on()), never in arguments or environment.
// The program is $BLKREP_NBDKIT, or nbdkit; the plugin lies beside the running blkrep, or is the installed one.
#ifndef BR_TOOLS_NBDKIT_SERVER_H
#define BR_TOOLS_NBDKIT_SERVER_H

#include <sys/types.h>

#include "tools/repository.h"

#define NBD_SERVER_URI_BYTES (3 * PATH_MAX + 64) // every byte of a path may be %XX

struct nbd_server_params {
    const char *repository; // its real path, or address
    const struct br_point *point;
    bool writable; // clients may write; what they write goes to a file that nobody else sees, and is gone at the end
    bool cut_off;  // when blkrep is killed clients lose it at once; else it stays while one is connected
    // a socket, or a port
    const char *socket;
    const char *address; // NULL every one
    const char *port;
    // of a port, each NULL or as for nbdkit: folder with server's and CA's certificate; file with preshared keys
    const char *tls_certificates;
    const char *tls_psk;
    bool any_client; // no certificate is asked of a client
};

struct nbd_server {
    pid_t pid;
    char socket[PATH_MAX]; // to be removed; "" none
    char uri[NBD_SERVER_URI_BYTES];
};

/**
 * nbd_server_start - returns when clients can come
 * @cli  its key-file, passphrase-file, state and config options are passed on
 * Errors: -BR_E_UNSUPPORTED no nbdkit here; -BR_E_EXISTS something else is at the socket's path; -BR_E_BUSY a server listens there; what the plugin says
 */
BR_MUST_CHECK int nbd_server_start(struct cli *cli, const struct nbd_server_params *params,
                                   struct nbd_server *ret_server, struct br_err *reterr);
/** nbd_server_died - it ended by itself */
bool nbd_server_died(struct nbd_server *server);
/** nbd_server_stop - end it and remove its socket; one that was never started, or ended by itself, is fine */
void nbd_server_stop(struct nbd_server *server);

#endif
