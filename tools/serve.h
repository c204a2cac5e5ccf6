// SPDX-License-Identifier: Apache-2.0
//
// blkrep serve: one process that listens (cmd_serve.c) and one child for each connection (serve_child.c). The parent never reads a byte
// that a peer sent; what a hostile one can reach is a child that serves nobody else.
//
// Whoever can reach the port can make connections fail: a child asks before it says so, and the parent, who knows how often that was, lets
// a few lines in ten minutes through, of log and audit trail, and counts the rest into one.
//
//     parent   accept, limits, reap, signals            -- fork -->   child   handshake -> who is it? -> pairing | session -> exit
//              is there room for one more session?      <-- "proven" --   (over a socket pair of their own)
//              yes, or why not                          -- answer -->
//              not too much said of strangers?          <-- "stranger" --
//
// Signals: TERM and INT end it cleanly (children are told, get `stop-timeout`, then are killed: what they were doing stays resumable);
// HUP reads the configuration anew, for connections that come after. A child dies with its parent.
#ifndef BR_TOOLS_SERVE_H
#define BR_TOOLS_SERVE_H

#include "engine/net/tls.h"
#include "tools/conf.h"
#include "tools/trust.h"

// A byte from child to parent. And the answer.
#define SERVE_PROVEN   'P' // this peer has proven who it is
#define SERVE_STRANGER 'S' // it is nobody that we know; may that be said?
#define SERVE_UNPAIRED 'U' // it could not pair; may that be said, and written into the audit trail?
enum serve_answer {
    SERVE_NO_ANSWER = 0, // the parent is gone
    SERVE_GO = 'G',
    SERVE_HUSH = 'H',         // enough was said
    SERVE_FULL = 'F',         // sessions-max
    SERVE_FULL_ADDRESS = 'A', // sessions-per-address
};

struct serve {
    struct cli *cli;
    const struct conf *conf;
    struct trust trust;
};

/**
 * serve_connection - serve one connection, in a process of its own
 * @fd         the accepted socket
 * @parent_fd  where SERVE_PROVEN goes, and the answer comes from
 * Returns the process's exit status.
 */
int serve_connection(struct serve *serve, int fd, int parent_fd);
/** serve_store - the session of a known @client that speaks of a repository (BR_TLS_STORE), from its welcome to its end */
BR_MUST_CHECK int serve_store(struct serve *serve, struct br_tls *tls, const struct br_client *client,
                              struct br_err *reterr);

#endif
