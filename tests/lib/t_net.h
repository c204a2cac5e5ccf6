// SPDX-License-Identifier: Apache-2.0
//
// Two hosts in one test program: a state folder each, and a listener on a loopback port that the kernel picks.
#ifndef T_NET_H
#define T_NET_H

#include "engine/net/tls.h"

struct t_host {
    char path[256]; // of the state folder
    int state_fd;
    struct br_keys *keys;
};

/** t_host_make - a fresh state folder with an identity; fails the test on any error */
void t_host_make(struct t_host *host);
/** t_host_end - removes it */
void t_host_end(struct t_host *host);

struct t_listener {
    int fd;
    struct br_address address;
};
/** t_listen - 127.0.0.1 and a free port */
void t_listen(struct t_listener *listener);
/** t_accept - the next connection, at most 10 s from now; -1 none came */
int t_accept(const struct t_listener *listener);
/** t_listener_end - closes it */
void t_listener_end(struct t_listener *listener);

#endif
