// SPDX-License-Identifier: Apache-2.0
//
// The LVM runner: the one process of the helper that may execute a program, and those programs are lvm and thin_delta of /usr/sbin.
//
// LVM's own metadata are changed by LVM's own commands only. They need more than the helper keeps (capabilities, system calls), so the
// runner is started before the helper gives that up, and takes nothing but the calls below: a verb and names, which it checks again and
// puts into fixed argument vectors. Environment, working folder and descriptors are its own.
//
// A command that changes something is never killed: in the middle of it a logical volume may be suspended. After its time the caller is told
// that it still runs. Reports and thin_delta, which change nothing, are killed.
#ifndef DMH_LVM_RUNNER_H
#define DMH_LVM_RUNNER_H

#include <sys/types.h>

#include "dm-helper/request.h"
#include "engine/base/err.h"

#define DMH_LVM_TAG        "blkrep"
#define DMH_LVM_TIMEOUT_MS 90000
#define DMH_LVM_OUTPUT_MAX (UINT64_C(256) << 20) // of thin_delta, in memory: four million ranges that differ

enum dmh_lvm_verb {
    DMH_LVM_RUN_LVS = 1,
    DMH_LVM_RUN_VGS,
    DMH_LVM_RUN_TAGS, // of one LV
    DMH_LVM_RUN_CREATE,
    DMH_LVM_RUN_SNAPSHOT,
    DMH_LVM_RUN_THIN_SNAPSHOT,
    DMH_LVM_RUN_EXTEND,
    DMH_LVM_RUN_REMOVE,
    DMH_LVM_RUN_ACTIVATE,
    DMH_LVM_RUN_THIN_DELTA, // not LVM's
};

// Between the helper and its runner, which are one program: as it lies in memory.
struct dmh_lvm_call {
    uint32_t verb;
    char vg[DMH_DM_NAME_MAX];
    char lv[DMH_DM_NAME_MAX];     // "blkrep-..."; of snapshots the new one
    char origin[DMH_DM_NAME_MAX]; // snapshots
    uint64_t size_bytes;
    uint32_t meta_minor; // thin_delta: of the pool's metadata device, a device-mapper one
    uint64_t older_id, newer_id;
};

struct dmh_lvm_answer {
    int32_t
        error; // -BR_E_UNSUPPORTED no lvm here, -BR_E_USAGE the call was refused, -BR_E_BUSY it still runs, -BR_E_IO; 0 it ended
    int32_t exit_status;           // of lvm; 128 + signal when it was killed
    char output[DMH_LVM_JSON_MAX]; // what it printed: its results, or, when it failed, its errors; cut at the end
};

/** dmh_lvm_vector - the argument vector of a call, in @buffer; argv[0] is "lvm". -BR_E_USAGE a name that is none */
BR_MUST_CHECK int dmh_lvm_vector(const struct dmh_lvm_call *call, const char *argv[32], char *buffer,
                                 size_t buffer_size);
/** dmh_lvm_start - fork the runner; @ret_fd is the connection to it, whose end ends it */
BR_MUST_CHECK int dmh_lvm_start(int *ret_fd, pid_t *ret_pid, struct br_err *reterr);
/** dmh_lvm_stop - end the connection, and wait a moment for the runner's end; one that waits for LVM is left to */
void dmh_lvm_stop(int fd, pid_t pid);
/** dmh_lvm_ask - one call to the runner; @answer is filled in when 0 is returned */
BR_MUST_CHECK int dmh_lvm_ask(int fd, const struct dmh_lvm_call *call, struct dmh_lvm_answer *answer,
                              struct br_err *reterr);
/**
 * dmh_lvm_ask_file - the same for a call whose output may be long: it is behind @ret_fd, which is the caller's, -1 when there is none
 * What is printed beyond DMH_LVM_OUTPUT_MAX ends the command.
 */
BR_MUST_CHECK int dmh_lvm_ask_file(int fd, const struct dmh_lvm_call *call, struct dmh_lvm_answer *answer, int *ret_fd,
                                   struct br_err *reterr);

#endif
