// SPDX-License-Identifier: Apache-2.0
#include "kmod-compat/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULES_INDEX_BYTES_MAX  (8U << 20)
#define MODULES_CONFIG_BYTES_MAX (256U << 10)

// The text behind a signed module (kernel: Documentation/admin-guide/module-signing.rst).
static const char modules_signature[] = "~Module signature appended~\n";

// What may be loaded ---------------------------------------------------------------------------------------------------------------------

// "none [integrity] confidentiality": the word in brackets is in force.
static void modules_lockdown(struct kmc_modules *modules)
{
    char text[128];
    size_t len;

    kmc_read(modules->source, "/sys/kernel/security/lockdown", text, sizeof(text));
    const char *open = strchr(text, '[');
    len = open ? strcspn(open + 1, "]") : 0;
    if (open && len < sizeof(modules->lockdown)) {
        memcpy(modules->lockdown, open + 1, len);
        modules->lockdown[len] = 0;
    }
}

static bool modules_is(const struct kmc_source *source, const char *path, const char *value)
{
    char text[32];

    return kmc_read(source, path, text, sizeof(text)) > 0 && !strcmp(text, value);
}

// Who would load it: the kernel runs this program when a driver is asked for. false with the reason when it can't.
static bool modules_loader(const struct kmc_source *source, char *why, size_t why_size)
{
    char program[128];

    int len = kmc_read(source, "/proc/sys/kernel/modprobe", program, sizeof(program));
    if (len == 0) {
        snprintf(why, why_size, "sysctl kernel.modprobe is empty, so the kernel loads nothing by itself");
        return false;
    }
    if (len > 0 && !kmc_exists(source, program)) {
        snprintf(why, why_size, "%.80s, which the kernel runs to load modules, is not there", program);
        return false;
    }
    return true;
}

static void modules_policy(struct kmc_modules *modules)
{
    const struct kmc_source *source = modules->source;
    char command_line[4096];

    modules_lockdown(modules);
    modules->signed_only = modules_is(source, "/sys/module/module/parameters/sig_enforce", "Y") ||
                           (modules->lockdown[0] && strcmp(modules->lockdown, "none") != 0);
    kmc_read(source, "/proc/cmdline", command_line, sizeof(command_line));
    if (!kmc_exists(source, "/proc/modules")) {
        snprintf(modules->why_not, sizeof(modules->why_not), "this kernel was built without modules");
    } else if (kmc_has_word(command_line, "nomodule")) {
        snprintf(modules->why_not, sizeof(modules->why_not), "nomodule is on the kernel command line");
    } else if (modules_is(source, "/proc/sys/kernel/modules_disabled", "1")) {
        snprintf(modules->why_not, sizeof(modules->why_not), "sysctl kernel.modules_disabled is 1 until the next boot");
    } else {
        modules->can_load = modules_loader(source, modules->why_not, sizeof(modules->why_not));
    }
}

// Indexes --------------------------------------------------------------------------------------------------------------------------------

// Appends a file to *text, which grows; what does not fit is left out.
static void modules_append(const struct kmc_source *source, const char *path, char **text)
{
    char *more = kmc_read_all(source, path, MODULES_CONFIG_BYTES_MAX);
    size_t have = *text ? strlen(*text) : 0;
    size_t len = more ? strlen(more) : 0;
    char *both = have + len < MODULES_CONFIG_BYTES_MAX ? realloc(*text, have + len + 2) : NULL;

    if (both) {
        memcpy(both + have, more ? more : "", len);
        both[have + len] = '\n';
        both[have + len + 1] = 0;
        *text = both;
    }
    free(more);
}

static char *modules_configuration(const struct kmc_source *source)
{
    static const char *const folders[] = {"/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d",
                                          "/lib/modprobe.d"};
    char *text = NULL;
    char path[512];
    char **names;

    for (size_t i = 0; i < KMC_ARRAY_LEN(folders); i++) {
        size_t count = kmc_list(source, folders[i], &names);
        for (size_t j = 0; j < count; j++) {
            size_t len = strlen(names[j]);
            if (len > 5 && !strcmp(names[j] + len - 5, ".conf")) {
                snprintf(path, sizeof(path), "%s/%.255s", folders[i], names[j]);
                modules_append(source, path, &text);
            }
        }
        kmc_list_free(names, count);
    }
    return text;
}

void kmc_modules_open(const struct kmc_source *source, const char *release, struct kmc_modules *ret_modules)
{
    static const char *const roots[] = {"/lib/modules", "/usr/lib/modules"};
    char path[256];

    *ret_modules = (struct kmc_modules){.source = source};
    for (size_t i = 0; i < KMC_ARRAY_LEN(roots) && !ret_modules->installed && release[0]; i++) {
        snprintf(ret_modules->folder, sizeof(ret_modules->folder), "%s/%.80s", roots[i], release);
        snprintf(path, sizeof(path), "%s/modules.dep", ret_modules->folder);
        ret_modules->dep = kmc_read_all(source, path, MODULES_INDEX_BYTES_MAX);
        ret_modules->installed = ret_modules->dep != NULL;
    }
    snprintf(path, sizeof(path), "%s/modules.builtin", ret_modules->folder);
    ret_modules->builtin = kmc_read_all(source, path, MODULES_INDEX_BYTES_MAX);
    ret_modules->configuration = modules_configuration(source);
    modules_policy(ret_modules);
}

void kmc_modules_close(struct kmc_modules *modules)
{
    free(modules->dep);
    free(modules->builtin);
    free(modules->configuration);
    *modules = (struct kmc_modules){0};
}

// One module -----------------------------------------------------------------------------------------------------------------------------

// "kernel/drivers/md/dm-era.ko.xz: ..." is the module "dm_era": the file's name up to ".ko", dashes and underscores alike.
static bool modules_line_is(const char *line, size_t len, const char *module)
{
    const char *end = memchr(line, ':', len);
    const char *stop = end ? end : line + len;
    const char *name = stop;

    while (name > line && name[-1] != '/') {
        name--;
    }
    for (; *module && name < stop; module++, name++) {
        if (*name != *module && !(*name == '-' && *module == '_')) {
            return false;
        }
    }
    return !*module && stop - name >= 3 && !memcmp(name, ".ko", 3);
}

// Finds the index's line of a module; copies its path, relative to the folder, when @path is not NULL.
static bool modules_find(const char *index, const char *module, char *path, size_t path_size)
{
    for (const char *line = index; line && *line;) {
        size_t len = strcspn(line, "\n");
        if (modules_line_is(line, len, module)) {
            size_t name = strcspn(line, ":\n");
            if (path) {
                snprintf(path, path_size, "%.*s", (int)name, line);
            }
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

static bool modules_same_name(const char *a, size_t len, const char *b)
{
    for (size_t i = 0; i < len; i++, b++) {
        if (!*b || (a[i] != *b && !(a[i] == '-' && *b == '_'))) {
            return false;
        }
    }
    return !*b;
}

// "install dm-era /bin/false": modprobe runs that instead. A line of "blacklist" forbids aliases only, and targets are asked for by name.
static bool modules_install_line(const struct kmc_modules *modules, const char *module, char *why, size_t why_size)
{
    for (const char *line = modules->configuration; line && *line;) {
        size_t len = strcspn(line, "\n");
        const char *at = line + strspn(line, " \t");
        if (!strncmp(at, "install", 7) && (at[7] == ' ' || at[7] == '\t')) {
            at += 7 + strspn(at + 7, " \t");
            size_t name = strcspn(at, " \t\n");
            if (modules_same_name(at, name, module)) {
                snprintf(why, why_size, "modprobe.d says \"%.*s\"", (int)(len < 100 ? len : 100), line);
                return true;
            }
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

// Is the module's file seen to be without a signature? A compressed one can't be told without unpacking it: then false.
static bool modules_unsigned(const struct kmc_modules *modules, const char *relative)
{
    char path[KMC_PATH_BYTES];
    char tail[sizeof(modules_signature) - 1];
    size_t len = strlen(relative);

    if (len < 3 || strcmp(relative + len - 3, ".ko") != 0) {
        return false;
    }
    snprintf(path, sizeof(path), "%.200s%.160s/%.1024s", modules->source->root, modules->folder, relative);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return false;
    }
    bool missing = lseek(fd, -(off_t)sizeof(tail), SEEK_END) < 0 || read(fd, tail, sizeof(tail)) != sizeof(tail) ||
                   memcmp(tail, modules_signature, sizeof(tail)) != 0;
    close(fd);
    return missing;
}

enum kmc_module_state kmc_module_state(const struct kmc_modules *modules, const char *module, char *why,
                                       size_t why_size)
{
    char path[1024];

    why[0] = 0;
    snprintf(path, sizeof(path), "/sys/module/%.60s", module);
    if (kmc_exists(modules->source, path) || modules_find(modules->builtin, module, NULL, 0)) {
        return KMC_MODULE_LOADED;
    }
    if (!modules_find(modules->dep, module, path, sizeof(path))) {
        return KMC_MODULE_NONE;
    }
    if (!modules->can_load) {
        snprintf(why, why_size, "%s", modules->why_not);
        return KMC_MODULE_REFUSED;
    }
    if (modules_install_line(modules, module, why, why_size)) {
        return KMC_MODULE_REFUSED;
    }
    if (modules->signed_only && modules_unsigned(modules, path)) {
        snprintf(why, why_size, "its file is not signed, and this kernel loads signed modules only");
        return KMC_MODULE_REFUSED;
    }
    return KMC_MODULE_LOADABLE;
}
