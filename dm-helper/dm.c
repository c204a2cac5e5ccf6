// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/dm.h"

#include <errno.h>
#include <libdevmapper.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "engine/base/bytes.h"
#include "engine/base/units.h"

#define DMH_PARTS_FLAGS \
    (DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG | DM_UDEV_DISABLE_OTHER_RULES_FLAG)
#define DMH_UDEV_WAIT_MS 10000u // for udevd, which may be stopped, or gone and have left its socket
#define DMH_UDEV_LATE_MS 200u   // the same after it was not there in time once
#define DMH_UDEV_NAP_MS  5u
#define DMH_LOAD_BUSY_MS 2000u // a table is loaded again so long while one of its devices is held by somebody
#define DMH_LOAD_NAP_MS  20u

static const uint32_t dmh_event_flags[] = {
    [DMH_EVENT_PART] = DMH_PARTS_FLAGS, [DMH_EVENT_SNAPSHOT] = DM_UDEV_LOW_PRIORITY_FLAG};

// ---- libdevmapper's words --------------------------------------------------------------------------------------------

#define DMH_LOG_ERROR 3 // libdevmapper's levels are syslog's: error is 3, fatal 2, 8 bits above are flags

static char dmh_log_text[200];

static void dmh_on_log(int level, const char *file, int line, int number, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

// Keeps the first error of a task: what follows it is its consequences.
static void dmh_on_log(int level, const char *file, int line, int number, const char *fmt, ...)
{
    va_list args;

    (void)file;
    (void)line;
    (void)number;
    if ((level & 7) > DMH_LOG_ERROR || *dmh_log_text) {
        return;
    }
    va_start(args, fmt);
    vsnprintf(dmh_log_text, sizeof(dmh_log_text), fmt, args);
    va_end(args);
}

void dmh_dm_start(void)
{
    dm_log_with_errno_init(dmh_on_log);
    dm_set_name_mangling_mode(DM_STRING_MANGLING_NONE);
    dm_hold_control_dev(1);
}

void dmh_dm_stop(void)
{
    dm_lib_release();
}

static int dmh_dm_error(int os_errno, const char *what, const char *name, struct br_err *reterr)
{
    const char *words = *dmh_log_text ? dmh_log_text : strerror(os_errno);

    switch (os_errno) {
    case EBUSY: return br_err_set(reterr, BR_E_BUSY, "%s of %s: %s", what, name, words);
    case ENXIO:
    case ENODEV: return br_err_set(reterr, BR_E_NOT_FOUND, "%s of %s: %s", what, name, words);
    case ENOENT: return br_err_set(reterr, BR_E_UNSUPPORTED, "%s of %s: %s", what, name, words);
    case EPERM:
    case EACCES: return br_err_set(reterr, BR_E_PERMISSION, "%s of %s: %s", what, name, words);
    case ENOMEM: return br_err_set(reterr, BR_E_NOMEM, "%s of %s: %s", what, name, words);
    case ENOSPC: return br_err_set(reterr, BR_E_NO_SPACE, "%s of %s: %s", what, name, words);
    default: return br_err_set(reterr, BR_E_IO, "%s of %s: %s", what, name, words);
    }
}

// ---- tasks -------------------------------------------------------------------------------------------------------------

static void dmh_task_done(struct dm_task **task)
{
    if (*task) {
        dm_task_destroy(*task);
    }
}
#define DMH_AUTO_TASK __attribute__((cleanup(dmh_task_done)))

// A task for a device, by uuid or number. Those that make or remove a node must name the device, or libdevmapper would not know the node's
// name.
static struct dm_task *dmh_task(int type, const struct dmh_dm *dm)
{
    struct dm_task *task;
    bool ok;

    *dmh_log_text = 0;
    task = dm_task_create(type);
    if (!task) {
        return NULL;
    }
    if (type == DM_DEVICE_RESUME || type == DM_DEVICE_REMOVE || type == DM_DEVICE_MKNODES) {
        ok = dm_task_set_name(task, dm->name);
    } else if (*dm->uuid) {
        ok = dm_task_set_uuid(task, dm->uuid);
    } else {
        ok = dm_task_set_major_minor(task, (int)dm->major, (int)dm->minor, 0);
    }
    if (!ok) {
        dm_task_destroy(task);
        return NULL;
    }
    return task;
}

static int dmh_no_task(const char *what, const char *name, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_NOMEM, "preparing the %s of %s: %s", what, name, dmh_log_text);
}

static int dmh_run(struct dm_task *task, const char *what, const char *name, struct br_err *reterr)
{
    *dmh_log_text = 0;
    return dm_task_run(task) ? 0 : dmh_dm_error(dm_task_get_errno(task), what, name, reterr);
}

static bool dmh_udev_was_late;

static uint32_t dmh_udev_wait_ms(void)
{
    return dmh_udev_was_late ? DMH_UDEV_LATE_MS : DMH_UDEV_WAIT_MS;
}

// Until udev has done what the task asked of it; the library itself would wait for ever. A udev that is late is done without: the library then
// makes or removes the node.
static void dmh_await_udev(uint32_t cookie)
{
    int ready = 0;

    if (!cookie || !dmh_dm_has_udev()) {
        dm_udev_wait(cookie); // the library makes the nodes, at once
        return;
    }
    for (uint32_t ms = 0; ms < dmh_udev_wait_ms(); ms += DMH_UDEV_NAP_MS) {
        if (!dm_udev_wait_immediate(cookie, &ready) || ready) {
            dmh_udev_was_late = false;
            return;
        }
        dmh_process_sleep_ms(DMH_UDEV_NAP_MS);
    }
    dmh_udev_was_late = true;
    if (dm_udev_complete(cookie)) {
        dm_udev_wait(cookie);
    }
}

// Runs a task that makes or removes a node, and waits until that has happened.
static int dmh_run_with_node(struct dm_task *task, enum dmh_dm_event event, const char *what, const char *name,
                             struct br_err *reterr)
{
    uint32_t cookie = 0;

    if (!dm_task_set_cookie(task, &cookie, (uint16_t)dmh_event_flags[event])) {
        return dmh_no_task(what, name, reterr);
    }
    int error = dmh_run(task, what, name, reterr);
    dmh_await_udev(cookie);
    return error;
}

bool dmh_dm_version(uint32_t ret_version[3])
{
    char text[64];

    *dmh_log_text = 0;
    DMH_AUTO_TASK struct dm_task *task = dm_task_create(DM_DEVICE_VERSION);
    return task && dm_task_run(task) && dm_task_get_driver_version(task, text, sizeof(text)) &&
           sscanf(text, "%u.%u.%u", &ret_version[0], &ret_version[1], &ret_version[2]) == 3;
}

bool dmh_dm_has_udev(void)
{
    return dm_udev_get_sync_support();
}

bool dmh_dm_is_major(uint32_t major)
{
    return dm_is_dm_major(major);
}

uint32_t dmh_dm_event_flags(enum dmh_dm_event event)
{
    uint32_t flags = DM_UDEV_PRIMARY_SOURCE_FLAG | dmh_event_flags[event];

    if (!dmh_dm_has_udev()) {
        flags |= DM_UDEV_DISABLE_DM_RULES_FLAG | DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG;
    }
    return flags << DM_UDEV_FLAGS_SHIFT;
}

static void dmh_info_fill(const struct dm_info *from, struct dmh_info *info)
{
    info->major = from->major;
    info->minor = from->minor;
    info->open_count = (uint32_t)from->open_count;
    info->event_nr = from->event_nr;
    info->target_count = (uint32_t)from->target_count;
    info->suspended = from->suspended;
    info->live_table = from->live_table;
    info->inactive_table = from->inactive_table;
    info->read_only = from->read_only;
    info->deferred_remove = from->deferred_remove;
}

int dmh_dm_find(const char *uuid, uint32_t major, uint32_t minor, struct dmh_dm *ret_dm, struct dmh_info *ret_info,
                struct br_err *reterr)
{
    struct dmh_dm dm = {.major = major, .minor = minor};
    struct dm_info info;
    char label[DMH_DM_UUID_MAX + 8];

    snprintf(dm.uuid, sizeof(dm.uuid), "%s", uuid);
    snprintf(label, sizeof(label), *uuid ? "%s" : "%s%u:%u", uuid, major, minor);
    DMH_AUTO_TASK struct dm_task *task = dmh_task(DM_DEVICE_INFO, &dm);
    if (!task) {
        return dmh_no_task("info", label, reterr);
    }
    int error = dmh_run(task, "info", label, reterr);
    if (error) {
        return error;
    }
    if (!dm_task_get_info(task, &info) || !info.exists) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "there is no device-mapper device %s", label);
    }
    snprintf(dm.name, sizeof(dm.name), "%s", dm_task_get_name(task));
    snprintf(dm.uuid, sizeof(dm.uuid), "%s", dm_task_get_uuid(task));
    dm.major = info.major;
    dm.minor = info.minor;
    *ret_dm = dm;
    if (ret_info) {
        *ret_info = (struct dmh_info){0};
        memcpy(ret_info->name, dm.name, sizeof(dm.name));
        memcpy(ret_info->uuid, dm.uuid, sizeof(dm.uuid));
        dmh_info_fill(&info, ret_info);
    }
    return 0;
}

int dmh_dm_create(const char *name, const char *uuid, struct dmh_dm *ret_dm, struct br_err *reterr)
{
    DMH_AUTO_TASK struct dm_task *task = dm_task_create(DM_DEVICE_CREATE);

    if (!task || !dm_task_set_name(task, name) || !dm_task_set_uuid(task, uuid)) {
        return dmh_no_task("creation", name, reterr);
    }
    int error = dmh_run(task, "creation", name, reterr);
    return error ? error : dmh_dm_find(uuid, 0, 0, ret_dm, NULL, reterr);
}

static int dmh_dm_load_once(const struct dmh_dm *dm, const struct dmh_dm_target *targets, uint32_t target_count,
                            bool read_only, struct br_err *reterr)
{
    DMH_AUTO_TASK struct dm_task *task = dmh_task(DM_DEVICE_RELOAD, dm);

    if (!task || (read_only && !dm_task_set_ro(task))) {
        return dmh_no_task("table load", dm->name, reterr);
    }
    for (uint32_t i = 0; i < target_count; i++) {
        if (!dm_task_add_target(task, targets[i].start_sectors, targets[i].length_sectors, targets[i].type,
                                targets[i].params)) {
            return dmh_no_task("table load", dm->name, reterr);
        }
    }
    return dmh_run(task, "table load", dm->name, reterr);
}

// A device that a process had open for itself (O_EXCL) can be held a moment longer than that process knows: what io_uring had in its hands is
// closed by the kernel's own workers. So busy is believed only when it stays so.
int dmh_dm_load(const struct dmh_dm *dm, const struct dmh_dm_target *targets, uint32_t target_count, bool read_only,
                struct br_err *reterr)
{
    int error = dmh_dm_load_once(dm, targets, target_count, read_only, reterr);

    for (uint32_t ms = 0; error == -BR_E_BUSY && ms < DMH_LOAD_BUSY_MS; ms += DMH_LOAD_NAP_MS) {
        dmh_process_sleep_ms(DMH_LOAD_NAP_MS);
        error = dmh_dm_load_once(dm, targets, target_count, read_only, reterr);
    }
    return error;
}

static void dmh_add_length(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                           const char *params)
{
    (void)type;
    (void)params;
    *(uint64_t *)user = start_sectors + length_sectors;
}

int dmh_dm_load_error(const struct dmh_dm *dm, bool read_only, struct br_err *reterr)
{
    uint64_t sectors = 0;
    int error = dmh_dm_lines(dm, true, false, dmh_add_length, &sectors, reterr);
    struct dmh_dm_target target = {.length_sectors = sectors, .type = "error", .params = ""};

    return error ? error : dmh_dm_load(dm, &target, 1, read_only, reterr);
}

int dmh_dm_copy_table(const struct dmh_dm *from, const struct dmh_dm *to, bool read_only, struct br_err *reterr)
{
    DMH_AUTO_TASK struct dm_task *source = dmh_task(DM_DEVICE_TABLE, from);
    DMH_AUTO_TASK struct dm_task *target = dmh_task(DM_DEVICE_RELOAD, to);
    uint64_t start, length;
    char *type, *params;
    void *next = NULL;
    bool ok = true;

    if (!source || !target || !dm_task_secure_data(source) || !dm_task_secure_data(target) ||
        (read_only && !dm_task_set_ro(target))) {
        return dmh_no_task("table copy", to->name, reterr);
    }
    int error = dmh_run(source, "table", from->name, reterr);
    if (error) {
        return error;
    }
    do {
        next = dm_get_next_target(source, next, &start, &length, &type, &params);
        if (!type) {
            return br_err_set(reterr, BR_E_NOT_FOUND, "%s has no live table to copy", from->name);
        }
        ok = dm_task_add_target(target, start, length, type, params);
    } while (next && ok);
    return ok ? dmh_run(target, "table load", to->name, reterr) : dmh_no_task("table load", to->name, reterr);
}

int dmh_dm_clear(const struct dmh_dm *dm, struct br_err *reterr)
{
    DMH_AUTO_TASK struct dm_task *task = dmh_task(DM_DEVICE_CLEAR, dm);

    return task ? dmh_run(task, "table clear", dm->name, reterr) : dmh_no_task("table clear", dm->name, reterr);
}

int dmh_dm_resume(const struct dmh_dm *dm, enum dmh_dm_event event, struct br_err *reterr)
{
    DMH_AUTO_TASK struct dm_task *task = dmh_task(DM_DEVICE_RESUME, dm);

    return task ? dmh_run_with_node(task, event, "resume", dm->name, reterr) : dmh_no_task("resume", dm->name, reterr);
}

static bool dmh_node_there(const struct dmh_dm *dm, const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISBLK(st.st_mode) && st.st_rdev == makedev(dm->major, dm->minor);
}

int dmh_dm_make_node(const struct dmh_dm *dm, struct br_err *reterr)
{
    char path[DMH_DM_NAME_MAX + 16];

    snprintf(path, sizeof(path), "%s/%s", dm_dir(), dm->name);
    for (uint32_t ms = 0; dmh_dm_has_udev() && ms < dmh_udev_wait_ms() && !dmh_node_there(dm, path);
         ms += DMH_UDEV_NAP_MS) {
        dmh_process_sleep_ms(DMH_UDEV_NAP_MS);
    }
    if (dmh_node_there(dm, path)) {
        return 0;
    }
    DMH_AUTO_TASK struct dm_task *task = dmh_task(DM_DEVICE_MKNODES, dm);
    if (!task) {
        return dmh_no_task("node", dm->name, reterr);
    }
    int error = dmh_run(task, "node", dm->name, reterr);
    dm_task_update_nodes();
    return error;
}

int dmh_dm_remove(const struct dmh_dm *dm, bool deferred, struct br_err *reterr)
{
    DMH_AUTO_TASK struct dm_task *task = dmh_task(DM_DEVICE_REMOVE, dm);

    if (!task || (deferred && !dm_task_deferred_remove(task))) {
        return dmh_no_task("removal", dm->name, reterr);
    }
    return dmh_run_with_node(task, DMH_EVENT_PART, "removal", dm->name, reterr);
}

int dmh_dm_message(const struct dmh_dm *dm, const char *text, struct br_err *reterr)
{
    DMH_AUTO_TASK struct dm_task *task = dmh_task(DM_DEVICE_TARGET_MSG, dm);

    if (!task || !dm_task_set_sector(task, 0) || !dm_task_set_message(task, text)) {
        return dmh_no_task("message", dm->name, reterr);
    }
    return dmh_run(task, "message", dm->name, reterr);
}

int dmh_dm_lines(const struct dmh_dm *dm, bool table, bool inactive, dmh_dm_line_fn *line, void *user,
                 struct br_err *reterr)
{
    DMH_AUTO_TASK struct dm_task *task = dmh_task(table ? DM_DEVICE_TABLE : DM_DEVICE_STATUS, dm);
    const char *what = table ? "table" : "status";
    uint64_t start, length;
    char *type, *params;
    void *next = NULL;

    if (!task || !dm_task_no_flush(task) || (inactive && !dm_task_query_inactive_table(task))) {
        return dmh_no_task(what, dm->name, reterr);
    }
    int error = dmh_run(task, what, dm->name, reterr);
    if (error) {
        return error;
    }
    do {
        next = dm_get_next_target(task, next, &start, &length, &type, &params);
        if (type) {
            line(user, start, length, type, params ? params : "");
        }
    } while (next);
    return 0;
}

int dmh_dm_list(void (*each)(void *user, const char *name, uint32_t major, uint32_t minor), void *user,
                struct br_err *reterr)
{
    *dmh_log_text = 0;
    DMH_AUTO_TASK struct dm_task *task = dm_task_create(DM_DEVICE_LIST);
    if (!task) {
        return dmh_no_task("list", "all devices", reterr);
    }
    int error = dmh_run(task, "list", "all devices", reterr);
    const struct dm_names *names = error ? NULL : dm_task_get_names(task);
    if (!names || !names->dev) {
        return error;
    }
    for (;;) {
        each(user, names->name, major(names->dev), minor(names->dev));
        if (!names->next) {
            return 0;
        }
        names = (const void *)((const char *)names + names->next);
    }
}

void dmh_dm_lv_of(const struct dmh_dm *dm, char vg[DMH_DM_NAME_MAX], char lv[DMH_DM_NAME_MAX])
{
    char *vg_name, *lv_name, *layer;

    *vg = *lv = 0;
    if (strncmp(dm->uuid, "LVM-", 4) != 0) {
        return;
    }
    struct dm_pool *pool = dm_pool_create("names", 256);
    if (pool && dm_split_lvm_name(pool, dm->name, &vg_name, &lv_name, &layer)) {
        snprintf(vg, DMH_DM_NAME_MAX, "%s", vg_name);
        snprintf(lv, DMH_DM_NAME_MAX, "%s", lv_name);
    }
    if (pool) {
        dm_pool_destroy(pool);
    }
}
