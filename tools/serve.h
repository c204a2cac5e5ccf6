// SPDX-License-Identifier: Apache-2.0
//
// blkrep serve: one process that listens (cmd_serve.c) and one child for each connection (serve_child.c). The parent never reads a byte
// that a peer sent; what a hostile one can reach is a child that serves nobody else.
//
//     parent   accept, limits, reap, signals            -- fork -->   child   handshake -> who is it? -> pairing | session -> exit
//              pipe per child: one byte "proven" <-----------------
//
// Signals: TERM and INT end it cleanly (children are told, get `stop-timeout`, then are killed: what they were doing stays resumable);
// HUP reads the configuration anew, for connections that come after. A child dies with its parent.
#ifndef BR_TOOLS_SERVE_H
#define BR_TOOLS_SERVE_H

#include "tools/conf.h"
#include "tools/trust.h"

#define SERVE_PROVEN 'P' // from child to parent: this peer has proven who it is and was let in

struct serve {
    struct cli *cli;
    const struct conf *conf;
    struct trust trust;
};

/**
 * serve_connection - serve one connection, in a process of its own
 * @fd         the accepted socket
 * @report_fd  where SERVE_PROVEN goes
 * @full       NULL, or why there is no room: said to the peer once it has proven who it is
 * Returns the process's exit status.
 */
int serve_connection(struct serve *serve, int fd, int report_fd, const char *full);

#endif
