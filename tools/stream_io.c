// SPDX-License-Identifier: Apache-2.0
#include "tools/stream_io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

// After a call that failed: is it to be made again? A descriptor that another program made non-blocking (ssh does that to what it shares)
// is waited for; a signal that said stop ends it, with errno EINTR.
static bool again(int fd, short events)
{
    struct pollfd wait = {.fd = fd, .events = events};

    if (errno == EAGAIN) {
        (void)poll(&wait, 1, -1);
        errno = EINTR;
    }
    return errno == EINTR && !cli_cancel;
}

int stream_write(void *ctx, const void *bytes, size_t len, struct br_err *reterr)
{
    const uint8_t *at = bytes;

    (void)ctx;
    while (len) {
        ssize_t wrote = write(STDOUT_FILENO, at, len);
        if (wrote < 0 && again(STDOUT_FILENO, POLLOUT)) {
            continue;
        }
        if (wrote < 0) {
            return errno == EINTR ? br_err_set(reterr, BR_E_CANCELLED, "writing the stream")
                                  : br_err_os(reterr, errno, "writing the stream");
        }
        at += wrote;
        len -= (size_t)wrote;
    }
    return 0;
}

int stream_read(void *ctx, void *bytes, size_t len, struct br_err *reterr)
{
    (void)ctx;
    for (;;) {
        ssize_t got = read(STDIN_FILENO, bytes, BR_MIN(len, (size_t)1 << 30));
        if (got >= 0) {
            return (int)got;
        }
        if (!again(STDIN_FILENO, POLLIN)) {
            return errno == EINTR ? br_err_set(reterr, BR_E_CANCELLED, "reading the stream")
                                  : br_err_os(reterr, errno, "reading the stream");
        }
    }
}

// Standard output carries the stream, so what is for programs goes where progress goes.
int stream_events(struct cli *cli, struct br_err *reterr)
{
    if (!cli->json) {
        return 0;
    }
    if (!cli_text(cli, "progress")) {
        return br_err_set(reterr, BR_E_USAGE,
                          "stdout carries the stream: give --progress=FD too, and JSON goes to that descriptor");
    }
    int fd = fcntl((int)cli_number(cli, "progress", 0), F_DUPFD_CLOEXEC, 3);
    cli->events = fd < 0 ? NULL : fdopen(fd, "w");
    return cli->events ? 0 : br_err_os(reterr, errno, "--progress");
}
