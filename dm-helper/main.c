// SPDX-License-Identifier: Apache-2.0
//
// blkrep-dm-helper: serves one connection, which it finds as descriptor 3, and ends with it.
//
// blkrep spawns it so as root (dmh_client_spawn()); systemd does for members of group blkrep, one process for each connection
// (blkrep-dm-helper.socket with Accept=yes). It takes no arguments: what it may do comes from the registrations, the configuration and its
// peer's identity. See blkrep-dm-helper(8).
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blkrep_version.h"
#include "dm-helper/dm.h"
#include "dm-helper/lvm_runner.h"
#include "dm-helper/nbd.h"
#include "dm-helper/process.h"
#include "dm-helper/sandbox.h"
#include "dm-helper/server.h"
#include "dm-helper/ublk.h"
#include "dm-helper/wire.h"

#define DMH_EXIT_USAGE 2

static int dmh_peer(struct dmh_server *server, struct br_err *reterr)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    int type = 0;
    socklen_t type_size = sizeof(type);

    if (getsockopt(DMH_CONNECTION_FD, SOL_SOCKET, SO_TYPE, &type, &type_size) || type != SOCK_SEQPACKET ||
        getsockopt(DMH_CONNECTION_FD, SOL_SOCKET, SO_PEERCRED, &peer, &size)) {
        return br_err_set(reterr, BR_E_USAGE,
                          "descriptor %d is not a connection; blkrep and systemd start this program",
                          DMH_CONNECTION_FD);
    }
    server->fd = DMH_CONNECTION_FD;
    server->peer_is_root = peer.uid == 0;
    return 0;
}

// The standard streams exist, so that no file can be opened under their numbers; everything else that a parent left open is closed.
static void dmh_settle_streams(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    close_range(DMH_CONNECTION_FD + 1, ~0U, 0);
    fcntl(DMH_CONNECTION_FD, F_SETFD, FD_CLOEXEC);
}

static int dmh_start(struct dmh_server *server, struct br_err *reterr)
{
    int size = 2 * DMH_MESSAGE_MAX;

    umask(077);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int error = dmh_peer(server, reterr);
    error = error ? error : dmh_registry_start(&server->registry, reterr);
    // Before anything is given up: LVM needs more than the helper.
    error = error ? error : dmh_lvm_start(&server->lvm_fd, &server->lvm_pid, reterr);
    if (error) {
        return error;
    }
    setsockopt(server->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    signal(SIGCHLD, SIG_IGN); // watchdogs report by themselves, and nobody waits for them
    dmh_process_spare();
    dmh_dm_start();
    server->nbd_fd = dmh_nbd_start();
    dmh_ublk_ring_start();
    error = dmh_sandbox_drop(reterr);
    if (error) {
        return error;
    }
    int failed = dmh_sandbox_enter(DMH_SANDBOX_HELPER);
    return failed ? br_err_os(reterr, -failed, "entering the sandbox") : 0;
}

int main(int argc, char **argv)
{
    struct dmh_server server = {.fd = -1, .nbd_fd = -1, .lvm_fd = -1};
    struct br_err err = {0};

    if (argc == 2 && !strcmp(argv[1], "--version")) {
        printf("blkrep-dm-helper %s\n", BR_VERSION);
        return 0;
    }
    if (argc != 1) {
        fprintf(stderr, "blkrep-dm-helper: takes no arguments but --version; see blkrep-dm-helper(8)\n");
        return DMH_EXIT_USAGE;
    }
    dmh_process_start(argv);
    dmh_settle_streams();
    int error = dmh_start(&server, &err);
    error = error ? error : dmh_server_run(&server, &err);
    if (error) {
        fprintf(stderr, "blkrep-dm-helper: %s\n", err.text);
    }
    dmh_lvm_stop(server.lvm_fd, server.lvm_pid);
    dmh_dm_stop();
    dmh_ublk_ring_stop();
    return br_err_exit(error);
}
