// SPDX-License-Identifier: Apache-2.0
//
// A small NBD server for test scripts: a file, over a Unix socket, from the first byte on in the transmission phase.
//
//     nbd_serve SOCKET FILE [stall=N]    serve; the N-th write and all requests after it get no answer, and it says "stalled"
//     nbd_serve foreign DEVICE FILE      serve FILE as DEVICE (/dev/nbdN) in the old way, by ioctls: somebody else's device
//
// "serving" when it can be connected to, "disconnected" when the kernel said goodbye, "ended" when a connection did. It ends with a signal.
// The bytes: a request is magic 0x25609513, u16 flags, u16 type, u64 cookie, u64 offset, u32 length, then what is to be written; an answer is
// magic 0x67446698, u32 error, u64 cookie, then what was read; all big-endian (the NBD protocol's doc/proto.md, "Transmission").
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nbd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_MAGIC UINT32_C(0x25609513)
#define REPLY_MAGIC   UINT32_C(0x67446698)
#define LENGTH_MAX    (64u << 20)

enum { READ = 0, WRITE = 1, DISCONNECT = 2, FLUSH = 3, TRIM = 4 };
#define FLAG_FUA 1

struct __attribute__((packed)) request {
    uint32_t magic;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint64_t offset;
    uint32_t length;
};

struct __attribute__((packed)) reply {
    uint32_t magic;
    uint32_t error;
    uint64_t cookie;
};

static int file_fd;
static _Atomic long stall_after = -1; // writes

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int all(int fd, void *bytes, size_t len, int sending)
{
    for (char *at = bytes; len;) {
        ssize_t done = sending ? send(fd, at, len, MSG_NOSIGNAL) : recv(fd, at, len, 0);
        if (done <= 0) {
            return -1;
        }
        at += done;
        len -= (size_t)done;
    }
    return 0;
}

// What the file says to a request: 0 or an errno. @bytes holds what is to be written, or gets what was read.
static int work(const struct request *request, uint32_t length, void *bytes)
{
    off_t offset = (off_t)be64toh(request->offset);

    switch (be16toh(request->type)) {
    case READ: return pread(file_fd, bytes, length, offset) == (ssize_t)length ? 0 : EIO;
    case WRITE:
        if (pwrite(file_fd, bytes, length, offset) != (ssize_t)length) {
            return EIO;
        }
        return be16toh(request->flags) & FLAG_FUA && fdatasync(file_fd) ? EIO : 0;
    case FLUSH: return fdatasync(file_fd) ? EIO : 0;
    case TRIM: return fallocate(file_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) ? EIO : 0;
    default: return EINVAL;
    }
}

static void stall(void)
{
    puts("stalled");
    for (;;) {
        pause();
    }
}

// One request; -1 ends the connection.
static int serve_one(int fd, char *bytes)
{
    struct request request;
    struct reply reply = {.magic = htobe32(REPLY_MAGIC)};

    if (all(fd, &request, sizeof(request), 0) || be32toh(request.magic) != REQUEST_MAGIC) {
        return -1;
    }
    uint16_t type = be16toh(request.type);
    uint32_t length = be32toh(request.length);
    if (type == DISCONNECT) {
        puts("disconnected");
        return -1;
    }
    if (length > LENGTH_MAX || (type == WRITE && all(fd, bytes, length, 0))) {
        return -1;
    }
    if (stall_after >= 0 && (stall_after == 0 || (type == WRITE && --stall_after == 0))) {
        stall();
    }
    reply.error = htobe32((uint32_t)work(&request, length, bytes));
    reply.cookie = request.cookie;
    if (all(fd, &reply, sizeof(reply), 1)) {
        return -1;
    }
    return type == READ && !reply.error ? all(fd, bytes, length, 1) : 0;
}

static void *serve(void *argument)
{
    int fd = (int)(long)argument;
    char *bytes = malloc(LENGTH_MAX);

    while (bytes && !serve_one(fd, bytes)) {}
    puts("ended");
    free(bytes);
    close(fd);
    return NULL;
}

static int start(int fd)
{
    pthread_t thread;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): a number is all that the thread needs
    int failed = pthread_create(&thread, NULL, serve, (void *)(long)fd);

    return failed ? failed : pthread_detach(thread);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) || listen(fd, 16)) {
        return fail(path);
    }
    puts("serving");
    for (;;) {
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (peer < 0 || start(peer)) {
            return fail("accept");
        }
    }
}

static int serve_foreign(const char *device)
{
    int sockets[2], fd = open(device, O_RDWR | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(file_fd, &st) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) ||
        start(sockets[1])) {
        return fail(device);
    }
    if (ioctl(fd, NBD_SET_SOCK, sockets[0]) || ioctl(fd, NBD_SET_BLKSIZE, 512UL) ||
        ioctl(fd, NBD_SET_SIZE_BLOCKS, (unsigned long)st.st_size / 512)) {
        return fail("an ioctl of NBD");
    }
    puts("serving");
    return ioctl(fd, NBD_DO_IT) ? fail("NBD_DO_IT") : 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3 || (!strcmp(argv[1], "foreign") && argc != 4)) {
        fprintf(stderr, "usage: nbd_serve SOCKET FILE [stall=N], nbd_serve foreign DEVICE FILE\n");
        return 2;
    }
    int is_foreign = !strcmp(argv[1], "foreign");
    file_fd = open(argv[is_foreign ? 3 : 2], O_RDWR | O_CLOEXEC);
    if (file_fd < 0) {
        return fail("the file");
    }
    if (is_foreign) {
        return serve_foreign(argv[2]);
    }
    if (argc > 3 && !strncmp(argv[3], "stall=", 6)) {
        stall_after = atol(argv[3] + 6);
    }
    return listen_at(argv[1]);
}
