// SPDX-License-Identifier: Apache-2.0
#include "tools/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/net/registry.h"
#include "tools/conf.h"

#define PLACE_BUFFER_BYTES (1024 * 1024)
#define PLACE_BUFFERS      24
#define PLACE_FULL_BYTES   (4 * BR_MIB) // less is no room: what failed was cut back

// State folder ------------------------------------------------------------------------------------------------------------------------

int place_state_path(struct cli *cli, char *path, struct br_err *reterr)
{
    const char *given = cli_text(cli, "state") ? cli_text(cli, "state") : getenv("BLKREP_STATE");
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int len;

    if (given && *given) {
        len = snprintf(path, PATH_MAX, "%s", given);
    } else if (!geteuid()) {
        len = snprintf(path, PATH_MAX, "/var/lib/blkrep");
    } else if (xdg && *xdg == '/') {
        len = snprintf(path, PATH_MAX, "%s/blkrep", xdg);
    } else if (home && *home == '/') {
        len = snprintf(path, PATH_MAX, "%s/.local/state/blkrep", home);
    } else {
        return br_err_set(reterr, BR_E_CONFIG, "no state folder: set $BLKREP_STATE or $HOME");
    }
    if (len < 0 || len >= PATH_MAX - 300) {
        return br_err_set(reterr, BR_E_CONFIG, "the state folder's path is too long");
    }
    return 0;
}

static int place_make_folders(char *path, struct br_err *reterr)
{
    for (char *at = path + 1;; at++) {
        if (*at && *at != '/') {
            continue;
        }
        char was = *at;
        *at = 0;
        if (mkdir(path, 0700) && errno != EEXIST) {
            int os_errno = errno;
            br_err_os(reterr, os_errno, "making the state folder %s", path);
            *at = was;
            return reterr ? -reterr->code : -BR_E_IO;
        }
        *at = was;
        if (!was) {
            return 0;
        }
    }
}

// Who may write the state folder decides whom this host trusts and what it takes for a replica: that must be nobody but us. Root in
// another user's folder would also leave files there which that user can't read.
static int place_state_check(const char *path, struct br_err *reterr)
{
    struct stat st;

    if (stat(path, &st)) {
        return br_err_os(reterr, errno, "opening the state folder %s", path);
    }
    if (st.st_uid && st.st_uid != geteuid()) {
        struct passwd *owner = getpwuid(st.st_uid);
        return br_err_set(reterr, BR_E_PERMISSION,
                          "the state folder %s belongs to %s: run this as that user (runuser -u %s -- blkrep ...)",
                          path, owner ? owner->pw_name : "another user", owner ? owner->pw_name : "NAME");
    }
    if (st.st_mode & 022) {
        return br_err_set(reterr, BR_E_PERMISSION, "others may write the state folder %s: chmod 700 it", path);
    }
    return 0;
}

int place_state(struct cli *cli, char *ret_path, struct br_err *reterr)
{
    int error = place_state_path(cli, ret_path, reterr);

    error = error ? error : place_make_folders(ret_path, reterr);
    return error ? error : place_state_check(ret_path, reterr);
}

int place_state_dir(struct cli *cli, const char *leaf, int *ret_fd, struct br_err *reterr)
{
    char path[PATH_MAX];
    int error = place_state(cli, path, reterr);

    if (!error && *leaf) {
        size_t used = strlen(path);
        snprintf(path + used, sizeof(path) - used, "/%.280s", leaf);
        error = place_make_folders(path, reterr);
    }
    if (error) {
        return error;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return br_err_os(reterr, errno, "opening the state folder %s", path);
    }
    *ret_fd = fd;
    return 0;
}

// Addresses ---------------------------------------------------------------------------------------------------------------------------

static int place_parse_remote(const char *text, struct place_address *address, struct br_err *reterr)
{
    const char *at = text + strlen("blkrep://");
    const char *slash = strchr(at, '/');
    char host[BR_ADDRESS_TEXT_BYTES];
    char host_text[BR_ADDRESS_TEXT_BYTES];

    if (!slash || !slash[1] || (size_t)(slash - at) >= sizeof(host)) {
        return br_err_set(reterr, BR_E_USAGE, "%s is not of the form blkrep://HOST[:PORT]/NAME", text);
    }
    if (!br_volume_name_ok(slash + 1)) {
        return br_err_set(reterr, BR_E_USAGE, "%s: the name at the server is 1 to 64 letters, digits, _ and -", text);
    }
    snprintf(host, sizeof(host), "%.*s", (int)(slash - at), at);
    int error = br_address_parse(host, &address->host, reterr);
    if (error) {
        return error;
    }
    address->remote = true;
    snprintf(address->name, sizeof(address->name), "%s", slash + 1);
    br_address_text(&address->host, host_text);
    snprintf(address->text, sizeof(address->text), "blkrep://%s/%s", host_text, address->name);
    return 0;
}

static int place_parse(const char *text, struct place_address *address, struct br_err *reterr)
{
    *address = (struct place_address){0};
    if (!strncmp(text, "blkrep://", 9)) {
        return place_parse_remote(text, address, reterr);
    }
    if (!*text || strlen(text) >= sizeof(address->path)) {
        return br_err_set(reterr, BR_E_USAGE, "a path is empty or too long");
    }
    if (!strcmp(text, "-")) {
        return br_err_set(reterr, BR_E_USAGE,
                          "- is no file: write ./- for one of that name; streams are for blkrep send and receive");
    }
    snprintf(address->path, sizeof(address->path), "%s", text);
    return 0;
}

int place_resolve(struct cli *cli, const char *word, const char *section, struct place_address *ret_address,
                  struct br_err *reterr)
{
    const struct conf *conf;
    int error = conf_of(cli, &conf, reterr);

    if (error) {
        return error;
    }
    // A configured name wins only over what can't be mistaken for a path: ./NAME means the file.
    if (strchr(word, '/') || !conf_has(conf, section, word)) {
        return place_parse(word, ret_address, reterr);
    }
    const char *target = conf_get(conf, section, word, "path");
    if (!target && !strcmp(section, "replica")) {
        target = conf_get(conf, section, word, "address");
    }
    if (!target) {
        return br_err_set(reterr, BR_E_CONFIG, "[%s %s] has no path", section, word);
    }
    return place_parse(target, ret_address, reterr);
}

// Opening -----------------------------------------------------------------------------------------------------------------------------

static int place_quoted_error(struct br_err *reterr, int os_errno, const char *doing, const char *path)
{
    char name[512];

    br_quote(path, name, sizeof(name));
    return br_err_os(reterr, os_errno, "%s %s", doing, name);
}

// The real path (PATH_MAX), so that by-id links, relative names and later runs mean one object. A missing last component is kept.
static int place_real_path(const char *path, char *ret_real, struct br_err *reterr)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (realpath(path, ret_real)) {
        return 0;
    }
    if (errno != ENOENT) {
        return place_quoted_error(reterr, errno, "opening", path);
    }
    const char *last = slash ? slash + 1 : path;
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)BR_MAX(slash - path, (ptrdiff_t)1) : 1, slash ? path : ".");
    if (!*last || !strcmp(last, ".") || !strcmp(last, "..") || !realpath(folder, ret_real)) {
        return place_quoted_error(reterr, ENOENT, "opening", path);
    }
    size_t used = strlen(ret_real);
    if (used + strlen(last) + 2 > (size_t)PATH_MAX) {
        return place_quoted_error(reterr, ENAMETOOLONG, "opening", path);
    }
    snprintf(ret_real + used, (size_t)PATH_MAX - used, "%s%s", used > 1 ? "/" : "", last);
    return 0;
}

int place_name(struct cli *cli, const char *word, const char *section, char *ret_name, struct br_err *reterr)
{
    struct place_address address;
    int error = place_resolve(cli, word, section, &address, reterr);

    if (!error && address.remote) {
        snprintf(ret_name, PLACE_NAME_BYTES, "%s", address.text);
        return 0;
    }
    return error ? error : place_real_path(address.path, ret_name, reterr);
}

static int place_split_name(struct place *place, struct br_err *reterr)
{
    const char *slash = strrchr(place->path, '/');

    if (strlen(slash + 1) + strlen(".blkrep-new") > NAME_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "the file name is too long to keep NAME.blkrep beside it");
    }
    snprintf(place->name, sizeof(place->name), "%s", slash + 1);
    return 0;
}

// A folder that is gone as soon as it is open: what has no state has an empty one.
static int place_nowhere(int *ret_fd, struct br_err *reterr)
{
    const char *folder = getenv("TMPDIR");
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/blkrep-look.XXXXXX", folder && *folder ? folder : P_tmpdir);
    if (!mkdtemp(path)) {
        return br_err_os(reterr, errno, "making a temporary folder");
    }
    *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int os_errno = errno;
    rmdir(path);
    return *ret_fd < 0 ? br_err_os(reterr, os_errno, "opening a temporary folder") : 0;
}

static void place_hash_text(const char *text, char hex[33])
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 16; i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
}

// Who may write NAME.blkrep could make a replica seem what it is not: that must be nobody who may not write NAME itself.
static int place_side_check(const struct place *place, int side_fd, struct br_err *reterr)
{
    struct stat side, file = {.st_uid = geteuid()};

    if (fstat(side_fd, &side) || (place->look_fd >= 0 && fstat(place->look_fd, &file))) {
        return place_quoted_error(reterr, errno, "opening the state of", place->path);
    }
    mode_t more = side.st_mode & ~file.st_mode & 022;
    bool other_group = (side.st_mode & 020) && side.st_gid != file.st_gid;
    if (more || other_group || (side.st_uid && side.st_uid != geteuid() && side.st_uid != file.st_uid)) {
        return br_err_set(
            reterr, BR_E_REFUSED,
            "%s can be written by a user who may not write %s, so what it says may be forged: look whose it "
            "is, then chown and chmod 700 it or move it away",
            place->side, place->path);
    }
    return 0;
}

// Gives *@ret_fd -1 when NAME.blkrep is not there, or may neither be looked into nor made.
static int place_side_beside(int parent_fd, struct place *place, bool make, int *ret_fd, struct br_err *reterr)
{
    const char *name = strrchr(place->side, '/') + 1;

    *ret_fd = -1;
    place->side_made = make && !mkdirat(parent_fd, name, 0700);
    if (make && !place->side_made && errno != EEXIST) {
        return errno == EACCES || errno == EROFS || errno == EPERM
                   ? 0
                   : place_quoted_error(reterr, errno, "making the folder for the state of", place->path);
    }
    *ret_fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*ret_fd >= 0) {
        int error = place_side_check(place, *ret_fd, reterr);
        if (error) {
            close(*ret_fd);
            *ret_fd = -1;
        }
        return error;
    }
    if (errno == ENOENT || errno == EACCES) {
        return 0;
    }
    if (errno == ENOTDIR || errno == ELOOP) {
        return br_err_set(reterr, BR_E_REFUSED, "%s is no folder, but the state of %s belongs there; move it away",
                          place->side, place->path);
    }
    return place_quoted_error(reterr, errno, "opening the state of", place->path);
}

// In the state folder; gives *@ret_fd -1 when it is not there and none is to be made.
static int place_side_in_state(struct cli *cli, struct place *place, const char *leaf, bool make, int *ret_fd,
                               struct br_err *reterr)
{
    char state[PATH_MAX];
    struct br_err none;
    int error = place_state_path(cli, state, make ? reterr : &none);

    *ret_fd = -1;
    if (error) {
        return make ? error : 0; // a look needs no state folder
    }
    snprintf(place->side, sizeof(place->side), "%.*s/%s", (int)sizeof(state), state, leaf);
    if (make) {
        return place_state_dir(cli, leaf, ret_fd, reterr);
    }
    *ret_fd = open(place->side, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    error = *ret_fd < 0 ? 0 : place_state_check(state, reterr);
    if (error) {
        close(*ret_fd);
        *ret_fd = -1;
    }
    return error;
}

// What is there already comes first: a folder that could not be written once may be writable now.
static int place_side_of_file(struct cli *cli, int parent_fd, struct place *place, bool make, int *ret_fd,
                              struct br_err *reterr)
{
    char leaf[64] = "files/";

    place_hash_text(place->path, leaf + strlen(leaf));
    for (int step = 0; step < (make ? 4 : 2); step++) {
        int error = 0;
        if (step % 2 == 0) {
            snprintf(place->side, sizeof(place->side), "%s.blkrep", place->path);
            error = place_side_beside(parent_fd, place, step >= 2, ret_fd, reterr);
        } else {
            error = place_side_in_state(cli, place, leaf, step >= 2, ret_fd, reterr);
        }
        if (error || *ret_fd >= 0) {
            return error;
        }
    }
    place->side[0] = 0;
    return place_nowhere(ret_fd, reterr);
}

static int place_side_of_device(struct cli *cli, struct place *place, bool make, int *ret_fd, struct br_err *reterr)
{
    char leaf[256];

    snprintf(leaf, sizeof(leaf), "devices/%s", place->object.wwid);
    int error = place_side_in_state(cli, place, leaf, make, ret_fd, reterr);
    if (error || *ret_fd >= 0) {
        return error;
    }
    place->side[0] = 0;
    return place_nowhere(ret_fd, reterr);
}

int place_device_state(struct cli *cli, struct br_ring *ring, const char *wwid, bool make, struct br_dir **ret_dir,
                       struct br_err *reterr)
{
    struct place *place = calloc(1, sizeof(*place));
    int fd;

    if (!place) {
        return br_err_set(reterr, BR_E_NOMEM, "the state of a device");
    }
    snprintf(place->object.wwid, sizeof(place->object.wwid), "%s", wwid);
    int error = place_side_of_device(cli, place, make, &fd, reterr);
    free(place);
    return error ? error : br_dir_wrap(ring, fd, ret_dir, reterr);
}

static int place_open_sides(struct cli *cli, struct br_ring *ring, struct place *place, bool make,
                            struct br_err *reterr)
{
    int side_fd;
    int error;

    if (place->object.is_block) {
        error = place_side_of_device(cli, place, make, &side_fd, reterr);
        return error ? error : br_dir_wrap(ring, side_fd, &place->dir, reterr);
    }
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%.*s", (int)BR_MAX(strrchr(place->path, '/') - place->path, (ptrdiff_t)1),
             place->path);
    int parent_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd < 0) {
        return place_quoted_error(reterr, errno, "opening the folder", folder);
    }
    error = place_side_of_file(cli, parent_fd, place, make, &side_fd, reterr);
    if (error) {
        close(parent_fd);
        return error;
    }
    error = br_dir_wrap(ring, parent_fd, &place->parent, reterr);
    if (error) {
        close(side_fd);
        return error;
    }
    return br_dir_wrap(ring, side_fd, &place->dir, reterr);
}

#define PLACE_LOOK_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

static int place_create(struct place *place, struct br_err *reterr)
{
    place->look_fd = open(place->path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    place->created = place->look_fd >= 0;
    if (place->look_fd < 0 && errno == EEXIST) { // made by another run just now, or a link
        place->look_fd = open(place->path, PLACE_LOOK_FLAGS);
        if (place->look_fd < 0 && errno == ENOENT) {
            return br_err_set(reterr, BR_E_NOT_FOUND, "%s is a symbolic link that leads nowhere", place->path);
        }
    }
    if (place->look_fd < 0) {
        return place_quoted_error(reterr, errno, "making", place->path);
    }
    place->exists = true;
    return 0;
}

// The read-only descriptor comes first: every look is done before one that can write exists.
static int place_look(struct place *place, enum place_mode mode, struct br_err *reterr)
{
    place->look_fd = open(place->path, PLACE_LOOK_FLAGS);
    if (place->look_fd < 0 && errno == ENOENT && mode != PLACE_SOURCE) {
        place->empty = true;
        return mode == PLACE_TARGET ? place_create(place, reterr) : 0;
    }
    if (place->look_fd < 0) {
        return place_quoted_error(reterr, errno, "opening", place->path);
    }
    place->exists = true;
    return 0;
}

// What was looked at is what is used: between both looks somebody who may rename there could put something else in its place.
static bool place_is_looked_at(const struct place *place, int fd)
{
    struct stat look;
    struct stat now;

    return !fstat(place->look_fd, &look) && !fstat(fd, &now) && look.st_dev == now.st_dev &&
           look.st_ino == now.st_ino && look.st_rdev == now.st_rdev;
}

static int place_open_file(struct br_ring *ring, struct place *place, enum place_mode mode, struct br_err *reterr)
{
    int flags = mode == PLACE_TARGET ? O_RDWR | (place->object.is_block ? O_EXCL : 0) : O_RDONLY;
    int fd = open(place->path, flags | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 && errno == EBUSY) {
        return br_err_set(reterr, BR_E_TARGET_IN_USE, "%s: the kernel says that another driver holds it", place->path);
    }
    if (fd < 0) {
        return place_quoted_error(reterr, errno, "opening", place->path);
    }
    if (!place_is_looked_at(place, fd)) {
        close(fd);
        return br_err_set(reterr, BR_E_REFUSED, "%s: another object took this name meanwhile", place->path);
    }
    return br_file_wrap(ring, fd, &place->file, reterr);
}

static int place_open_existing(struct br_ring *ring, struct place *place, enum place_mode mode, struct br_err *reterr)
{
    int error = br_guard_describe(place->look_fd, place->path, &place->object, reterr);

    if (!error && (mode == PLACE_TARGET || mode == PLACE_PLAN)) {
        error = br_guard_target(place->look_fd, place->path, reterr);
    }
    if (!error && mode != PLACE_SOURCE) {
        int holds = br_guard_content(place->look_fd, place->holds, reterr);
        place->empty = !place->object.is_block && !place->object.size_bytes;
        error = holds < 0 ? holds : 0;
    }
    return error ? error : place_open_file(ring, place, mode, reterr);
}

// A target in use by another run of blkrep is busy, not foreign: the run that holds its lock will end.
static int place_in_use(struct cli *cli, struct br_ring *ring, struct place *place, int error, struct br_err *reterr)
{
    struct br_err why = {0};

    if (!place_open_sides(cli, ring, place, false, &why) && br_dir_lock(place->dir, "lock", &why) == -BR_E_BUSY) {
        return br_err_set(reterr, BR_E_BUSY, "another run of blkrep is writing to %s", place->path);
    }
    return error;
}

int place_open(struct cli *cli, struct br_ring *ring, const char *path, enum place_mode mode, struct place *ret_place,
               struct br_err *reterr)
{
    struct place *place = ret_place;
    int error;

    *place = (struct place){.look_fd = -1};
    error = place_real_path(path, place->path, reterr);
    if (!error) {
        error = place_split_name(place, reterr);
    }
    if (!error) {
        error = place_look(place, mode, reterr);
    }
    if (!error && place->exists) {
        error = place_open_existing(ring, place, mode, reterr);
        error = error == -BR_E_TARGET_IN_USE ? place_in_use(cli, ring, place, error, reterr) : error;
    }
    if (!error) {
        error = place_open_sides(cli, ring, place, mode == PLACE_SOURCE || mode == PLACE_TARGET, reterr);
    }
    if (error) {
        place_close(place, true);
    }
    return error;
}

static bool place_side_empty(const char *side)
{
    DIR *dir = opendir(side);
    struct dirent *entry;
    bool empty = dir != NULL;

    while (empty && (entry = readdir(dir))) {
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || !strcmp(entry->d_name, "lock");
    }
    if (dir) {
        closedir(dir);
    }
    return empty;
}

// The lock goes while it is held: who opened it meanwhile sees that it has no name any more (br_dir_lock()).
static bool place_undo_side(const struct place *place)
{
    char name[PATH_MAX + 32];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    snprintf(name, sizeof(name), "%s/lock", place->side);
    if (!place_side_empty(place->side)) {
        return false;
    }
    int fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && !fcntl(fd, F_OFD_SETLK, &lock)) {
        unlink(name);
    }
    bool gone = !rmdir(place->side);
    if (fd >= 0) {
        close(fd);
    }
    return gone;
}

// What was recorded stays, and with it the file.
static void place_undo(const struct place *place, bool had_dir)
{
    struct stat st;
    bool gone = place->side_made ? place_undo_side(place) : !had_dir;

    if (gone && place->created && !stat(place->path, &st) && S_ISREG(st.st_mode) && !st.st_size) {
        unlink(place->path);
    }
}

void place_close(struct place *place, bool undo)
{
    bool had_dir = place->dir != NULL;

    br_file_close(place->file);
    br_dir_close(place->dir);
    br_dir_close(place->parent);
    if (place->look_fd >= 0) {
        close(place->look_fd);
    }
    if (undo) {
        place_undo(place, had_dir);
    }
    *place = (struct place){.look_fd = -1};
}

void place_name_full(const char *const *folders, size_t count, struct br_err *reterr)
{
    dev_t named[8];
    size_t named_count = 0;

    for (size_t i = 0; i < count && named_count < BR_ARRAY_LEN(named); i++) {
        struct statvfs room;
        struct stat st;
        bool again = false;
        char left[32];
        if (!folders[i] || !folders[i][0] || stat(folders[i], &st) || statvfs(folders[i], &room)) {
            continue;
        }
        for (size_t n = 0; n < named_count; n++) {
            again = again || named[n] == st.st_dev;
        }
        uint64_t left_bytes = (uint64_t)room.f_bavail * room.f_frsize;
        if (again || S_ISBLK(st.st_mode) || (left_bytes >= PLACE_FULL_BYTES && (room.f_favail || !room.f_files))) {
            continue;
        }
        named[named_count++] = st.st_dev;
        br_size_text(left_bytes, left, sizeof(left));
        size_t used = strlen(reterr->text);
        snprintf(reterr->text + used, sizeof(reterr->text) - used, "%s%s (%s left)",
                 named_count > 1 ? ", " : "; full, or nearly: ", folders[i],
                 room.f_files && !room.f_favail ? "no file more" : left);
    }
}

int place_ring(struct cli *cli, struct br_ring **ret_ring, struct br_err *reterr)
{
    const char *io = cli_text(cli, "io");
    uint64_t buffers = cli_number(cli, "buffers", PLACE_BUFFERS);

    if (buffers < 4 || buffers > 1024) {
        return br_err_set(reterr, BR_E_USAGE, "--buffers must be between 4 and 1024");
    }
    struct br_ring_options options = {
        .kind = !io || !strcmp(io, "auto") ? BR_RING_AUTO
                : !strcmp(io, "uring")     ? BR_RING_URING
                                           : BR_RING_AIO,
        .depth = 64,
        .buffer_count = (unsigned)buffers,
        .buffer_bytes = PLACE_BUFFER_BYTES,
    };
    int error = br_ring_open(&options, ret_ring, reterr);
    if (error) {
        return error;
    }
    error = br_ring_workers(*ret_ring, 0, reterr);
    if (error) {
        br_ring_close(*ret_ring);
    }
    return error;
}
