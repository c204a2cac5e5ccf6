// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_net.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/t_env.h"

static void t_must(int rc, const char *what, const struct br_err *err)
{
    if (rc < 0) {
        fprintf(stderr, "t_net: %s: %s: %s\n", what, br_err_name(-rc), err->text);
        abort();
    }
}

void t_host_make(struct t_host *host)
{
    struct br_err err = {0};

    *host = (struct t_host){.state_fd = -1};
    snprintf(host->path, sizeof(host->path), "%s/t_host.XXXXXX", t_folder());
    host->state_fd = mkdtemp(host->path) ? open(host->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    t_must(host->state_fd < 0 ? -BR_E_IO : 0, host->path, &err);
    t_must(br_keys_load(host->state_fd, true, &host->keys, &err), "identity", &err);
}

void t_host_end(struct t_host *host)
{
    DIR *dir = fdopendir(host->state_fd);
    struct dirent *entry;

    t_must(dir ? 0 : -BR_E_IO, host->path, &(struct br_err){0});
    while (dir && (entry = readdir(dir))) {
        unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir) {
        closedir(dir);
    }
    rmdir(host->path);
    br_keys_free(host->keys);
    *host = (struct t_host){.state_fd = -1};
}

void t_listen(struct t_listener *listener)
{
    struct br_err err = {0};
    int fds[BR_LISTEN_FDS_MAX];
    uint16_t port;

    t_must(br_address_parse_listen("127.0.0.1:0", &listener->address, &err), "address", &err);
    t_must(br_address_listen(&listener->address, fds, &port, &err), "listening", &err);
    listener->fd = fds[0];
    listener->address.port = port;
}

int t_accept(const struct t_listener *listener)
{
    struct pollfd wait = {.fd = listener->fd, .events = POLLIN};

    return poll(&wait, 1, 10000) == 1 ? accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
}

void t_listener_end(struct t_listener *listener)
{
    close(listener->fd);
}
