// SPDX-License-Identifier: Apache-2.0
//
// blkrep doctor: what works on this machine, what doesn't and why, and what to type for its disks. tools/doctor.h says how the answer is
// found; this is the verb.
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tools/doctor.h"
#include "tools/place.h"

static const struct cli_option doctor_options[] = {
    {"matrix", CLI_FLAG, NULL,
     "Print the support matrix, which says what blkrep needs of a kernel, and nothing of this machine."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example doctor_examples[] = {
    {"blkrep doctor", "What works here, and what can be done with each block device."},
    {"blkrep doctor /dev/vg0/data", "The same for one device."},
    {"blkrep doctor --json", "The same for a program."},
    {NULL, NULL},
};

int doctor_read(const struct kmc_source *source, struct doctor *ret_doctor, struct br_err *reterr)
{
    *ret_doctor = (struct doctor){.all = false};
    kmc_facts_read(source, &ret_doctor->facts);
    for (int i = 0; i < KMC_FEATURE_MAX; i++) {
        kmc_supports(&ret_doctor->facts, i, &ret_doctor->supports[i]);
    }
    if (!kmc_devices_read(source, &ret_doctor->facts, &ret_doctor->devices)) {
        return br_err_set(reterr, BR_E_NOMEM, "the list of block devices");
    }
    ret_doctor->looks = calloc(ret_doctor->devices.count + 1, sizeof(*ret_doctor->looks));
    if (!ret_doctor->looks) {
        doctor_free(ret_doctor);
        return br_err_set(reterr, BR_E_NOMEM, "the list of block devices");
    }
    for (size_t i = 0; i < ret_doctor->devices.count; i++) {
        ret_doctor->looks[i].seen = DOCTOR_NOT_LOOKED;
    }
    return 0;
}

void doctor_free(struct doctor *doctor)
{
    kmc_devices_free(&doctor->devices);
    free(doctor->looks);
    free(doctor->spaces);
    free(doctor->pvs);
    *doctor = (struct doctor){0};
}

// A word of the command line as a device of the list.
static int doctor_find(struct cli *cli, const struct doctor *doctor, const char *word, size_t *ret_index,
                       struct br_err *reterr)
{
    struct place_address address;
    struct stat st;
    char shown[PATH_MAX];
    int error = place_resolve(cli, word, "volume", &address, reterr);

    if (error) {
        return error;
    }
    br_quote(word, shown, sizeof(shown));
    if (address.remote) {
        return br_err_set(reterr, BR_E_USAGE, "%s is on another host: run blkrep doctor there", shown);
    }
    if (stat(address.path, &st)) {
        return br_err_os(reterr, errno, "%s", shown);
    }
    if (!S_ISBLK(st.st_mode)) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "%s is no block device; a file is synced as it is, see blkrep sync",
                          shown);
    }
    *ret_index = kmc_device_by_number(&doctor->devices, major(st.st_rdev), minor(st.st_rdev));
    if (*ret_index == KMC_NO_DEVICE) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s has no size: nothing is behind it", shown);
    }
    return 0;
}

// Which devices were asked about; all when none was named. A name that the user gave is better than one that a reboot may change.
static int doctor_wanted(struct cli *cli, struct doctor *doctor, bool *wanted, struct br_err *reterr)
{
    doctor->all = !cli->arg_count;
    for (size_t i = 0; i < doctor->devices.count; i++) {
        wanted[i] = doctor->all;
    }
    for (int i = 0; i < cli->arg_count; i++) {
        size_t index;
        int error = doctor_find(cli, doctor, cli->args[i], &index, reterr);
        if (error) {
            return error;
        }
        struct kmc_device *device = &doctor->devices.list[index];
        wanted[index] = true;
        if (!device->stable_known && cli->args[i][0] == '/' && strlen(cli->args[i]) < sizeof(device->stable)) {
            snprintf(device->stable, sizeof(device->stable), "%s", cli->args[i]);
        }
    }
    return 0;
}

// What libblkid saw now counts more than what udev saw once, and that more than what the mount says.
static void doctor_merge(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->devices.count; i++) {
        const struct doctor_look *look = &doctor->looks[i];
        struct kmc_device *device = &doctor->devices.list[i];
        if (look->seen == DOCTOR_SEEN) {
            snprintf(device->holds, sizeof(device->holds), "%.31s", look->holds);
            snprintf(device->label, sizeof(device->label), "%.63s", look->label);
        } else if (!device->holds[0] && device->mount_count) {
            snprintf(device->holds, sizeof(device->holds), "%s", device->mounts[0].fs);
        }
    }
}

static int doctor_answer(struct cli *cli, struct doctor *doctor, struct br_err *reterr)
{
    BR_AUTO_FREE bool *wanted = calloc(doctor->devices.count + 1, sizeof(*wanted));
    int error = wanted ? doctor_wanted(cli, doctor, wanted, reterr)
                       : br_err_set(reterr, BR_E_NOMEM, "the list of block devices");

    if (error) {
        return error;
    }
    doctor_look(doctor, wanted);
    doctor_merge(doctor);
    if (doctor->devices.truncated) {
        cli_warn(cli, "there are more than %d block devices: the rest is not shown", KMC_DEVICES_MAX);
    }
    if (doctor->hurried) {
        cli_warn(cli, "not everything was looked at: something did not answer in time");
    }
    doctor_print(cli, doctor, wanted);
    doctor_report(cli, doctor, wanted);
    if (doctor->supports[KMC_SYNC].answer != KMC_YES) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "sync: %s; to do: %s", doctor->supports[KMC_SYNC].reason,
                          doctor->supports[KMC_SYNC].remedy);
    }
    return 0;
}

static int doctor_run(struct cli *cli, struct br_err *reterr)
{
    struct doctor doctor;

    if (cli_flag(cli, "matrix")) {
        if (cli->json || cli->arg_count) {
            return br_err_set(reterr, BR_E_USAGE,
                              "--matrix is a text about no device: it takes neither --json nor DEVICE");
        }
        doctor_matrix(cli);
        return 0;
    }
    int error = doctor_read(&kmc_running, &doctor, reterr);
    if (!error) {
        error = doctor_answer(cli, &doctor, reterr);
        doctor_free(&doctor);
    }
    return error;
}

const struct cli_verb cmd_doctor = {
    .name = "doctor",
    .args = "[DEVICE...]",
    .args_min = 0,
    .args_max = 1000,
    .summary = "Say what works on this machine, and what to do with its disks.",
    .description =
        "First what the kernel and the machine around it can do, row by row of the support matrix; behind a no stands why, what to do "
        "about it, and what blkrep does until then. Then the block devices, or those that are named: what each is and holds, whether "
        "it can be tracked while it is in use, which tracker would be taken and why not another, where the tracker's store could live, "
        "what becomes of TRIM, and the commands to type. DEVICE may be any path of a device, or a `[volume N]` of the configuration.\n\n"
        "A device-mapper device, which every logical volume, multipath device and encrypted volume is, can be attached while it is in "
        "use. A plain partition can't: it is unmounted first, or attached at boot before it is mounted; the root file system only at "
        "boot. Both ways are shown.\n\n"
        "Nothing is changed, no module is loaded, and no device is opened for writing. What does not answer (a dead path of a multipath "
        "device) is left alone after five seconds, all of it after twenty. An ordinary user gets what an ordinary user may see; what only "
        "root can see is named. The status is 0 when sync works here, whatever else does not.",
    .options = doctor_options,
    .examples = doctor_examples,
    .see_also = "blkrep-sync(1)",
    .schema = "blkrep.doctor/1",
    .fields = doctor_fields,
    .manual = doctor_manual,
    .run = doctor_run,
};
