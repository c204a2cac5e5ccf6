// SPDX-License-Identifier: Apache-2.0
#include "tools/out.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define OUT_WAIT_MS 250 // a reader that is only slow gets this long

bool out_ready(int fd, unsigned wait_ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int ready;

    do {
        ready = poll(&wait, 1, (int)wait_ms);
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

// A pipe that poll() calls writable takes PIPE_BUF bytes without blocking (pipe(7)); so does a socket or terminal, nearly always.
int out_write(int fd, const char *text, size_t len, unsigned wait_ms)
{
    while (len) {
        if (!out_ready(fd, wait_ms)) {
            return 0;
        }
        ssize_t put = write(fd, text, len < PIPE_BUF ? len : PIPE_BUF);
        if (put < 0 && errno == EAGAIN) { // the reader's end of a terminal or socket made it so
            return 0;
        }
        if (put < 0 && errno != EINTR) {
            return -1;
        }
        text += put > 0 ? put : 0;
        len -= put > 0 ? (size_t)put : 0;
    }
    return 1;
}

void out_stderr(const char *text, size_t len)
{
    static unsigned long left_out;
    char said[96];

    if (left_out) {
        int said_len = snprintf(said, sizeof(said), "blkrep: %lu message%s left out here: nobody read them\n", left_out,
                                left_out == 1 ? " was" : "s were");
        if (out_write(STDERR_FILENO, said, (size_t)said_len, 0) != 1) {
            left_out++;
            return;
        }
        left_out = 0;
    }
    if (!out_write(STDERR_FILENO, text, len, OUT_WAIT_MS)) {
        left_out = 1;
    }
}
