// SPDX-License-Identifier: Apache-2.0
#include "engine/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct br_err_info {
    const char *name;
    int errno_class;
    int exit_status;
    const char *message;
    const char *hint;
} br_err_table[] = {[BR_E_NONE] = {"NONE", 0, BR_EXIT_OK, "no error", ""},
#define X(name, errno_class, exit_status, message, hint) \
    [BR_E_##name] = {#name, errno_class, exit_status, message, hint},
                    BR_ERR_TABLE(X)
#undef X
};

static const struct br_err_info *br_err_info(int code)
{
    if (code < 0) {
        code = -code;
    }
    if (code >= BR_E_MAX) {
        code = BR_E_INTERNAL;
    }
    return &br_err_table[code];
}

static void br_err_fill(struct br_err *reterr, int code, const char *fmt, va_list args)
{
    *reterr = (struct br_err){.code = code};
    vsnprintf(reterr->text, sizeof(reterr->text), fmt, args);
}

int br_err_set(struct br_err *reterr, int code, const char *fmt, ...)
{
    if (reterr) {
        va_list args;
        va_start(args, fmt);
        br_err_fill(reterr, code, fmt, args);
        va_end(args);
    }
    return -code;
}

int br_err_at(struct br_err *reterr, int code, uint64_t offset_bytes, const char *fmt, ...)
{
    if (reterr) {
        va_list args;
        va_start(args, fmt);
        br_err_fill(reterr, code, fmt, args);
        va_end(args);
        reterr->has_offset = true;
        reterr->offset_bytes = offset_bytes;
    }
    return -code;
}

static int br_err_code_of_errno(int os_errno)
{
    switch (os_errno) {
    case ENOSPC:
    case EDQUOT: return BR_E_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS: return BR_E_PERMISSION;
    case ENOENT:
    case ENOTDIR:
    case ENODEV:
    case ENXIO:
    case EADDRNOTAVAIL: return BR_E_NOT_FOUND;
    case ENOMEM: return BR_E_NOMEM;
    case EISDIR:
    case EAFNOSUPPORT:
    case EOPNOTSUPP:
    case ENOSYS: return BR_E_UNSUPPORTED;
    case ELOOP: return BR_E_REFUSED; // a symbolic link where none is followed
    case EMFILE:
    case ENFILE:
    case EFBIG:
    case ENAMETOOLONG: return BR_E_LIMIT;
    case ECANCELED: return BR_E_CANCELLED;
    case ECONNRESET:
    case ECONNREFUSED:
    case ECONNABORTED:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH: return BR_E_PEER;
    case ETIMEDOUT: return BR_E_TIMEOUT;
    default: return BR_E_IO;
    }
}

int br_err_os(struct br_err *reterr, int os_errno, const char *fmt, ...)
{
    int code = br_err_code_of_errno(os_errno);

    if (reterr) {
        va_list args;
        va_start(args, fmt);
        br_err_fill(reterr, code, fmt, args);
        va_end(args);
        reterr->os_errno = os_errno;
        size_t used = strlen(reterr->text);
        snprintf(reterr->text + used, sizeof(reterr->text) - used, ": %s", strerror(os_errno));
    }
    return -code;
}

int br_err_prefix(struct br_err *reterr, const char *fmt, ...)
{
    char old[sizeof(reterr->text)];
    va_list args;

    if (!reterr) {
        return -BR_E_INTERNAL;
    }
    memcpy(old, reterr->text, sizeof(old));
    va_start(args, fmt);
    vsnprintf(reterr->text, sizeof(reterr->text), fmt, args);
    va_end(args);
    size_t used = strlen(reterr->text);
    snprintf(reterr->text + used, sizeof(reterr->text) - used, ": %s", old);
    return -reterr->code;
}

const char *br_err_name(int code)
{
    return br_err_info(code)->name;
}

const char *br_err_message(int code)
{
    return br_err_info(code)->message;
}

const char *br_err_hint(int code)
{
    return br_err_info(code)->hint;
}

int br_err_exit(int code)
{
    return br_err_info(code)->exit_status;
}

int br_err_class(int code)
{
    return br_err_info(code)->errno_class;
}

int br_err_from_name(const char *name)
{
    for (int code = 1; code < BR_E_MAX; code++) {
        if (!strcmp(br_err_table[code].name, name)) {
            return code;
        }
    }
    return 0;
}

int br_err_from_peer(const char *name)
{
    int code = br_err_from_name(name);

    return !code || code == BR_E_CANCELLED ? BR_E_PEER : code;
}
