// SPDX-License-Identifier: Apache-2.0
//
// Where things are: the state folder, addresses, and the opening of sources and replicas with all of G1's and G8's looks before it.
//
//     address          a path | blkrep://HOST[:PORT]/NAME | the name of a [volume N] or [replica N] section
//     state of a file  NAME.blkrep/ beside it; where that can't be made (read-only folder) STATE/files/HASH
//     of a device      STATE/devices/WWID
//
// State is used only when nobody else can have written it: the state folder must be ours, NAME.blkrep as closed as NAME.
//
// The engine takes descriptors; this is the code that opens them by name.
#ifndef BR_TOOLS_PLACE_H
#define BR_TOOLS_PLACE_H

#include <limits.h>

#include "engine/guard/guard.h"
#include "engine/net/address.h"
#include "engine/ring/ring.h"
#include "tools/cli.h"

struct place_address {
    bool remote;
    char path[PATH_MAX];                    // local: as given or configured
    struct br_address host;                 // remote
    char name[256];                         // of the replica at the remote end
    char text[BR_ADDRESS_TEXT_BYTES + 300]; // remote: blkrep://HOST:PORT/NAME, the same for every way to write it
};

/** place_state_path - where the state folder is or would be; nothing is made; @path holds PATH_MAX */
BR_MUST_CHECK int place_state_path(struct cli *cli, char *path, struct br_err *reterr);
/** place_state - the state folder, made (mode 0700) when missing; @ret_path holds PATH_MAX; -BR_E_PERMISSION it is not ours alone */
BR_MUST_CHECK int place_state(struct cli *cli, char *ret_path, struct br_err *reterr);
/** place_state_dir - a subfolder of the state folder as an open descriptor, made when missing; @leaf "" is the folder itself */
BR_MUST_CHECK int place_state_dir(struct cli *cli, const char *leaf, int *ret_fd, struct br_err *reterr);
/**
 * place_device_state - the folder in which the state of the device of that WWID is kept
 * @make  make it when it is not there; else an empty folder stands for one that is missing
 */
BR_MUST_CHECK int place_device_state(struct cli *cli, struct br_ring *ring, const char *wwid, bool make,
                                     struct br_dir **ret_dir, struct br_err *reterr);
/** place_resolve - what a word on the command line means; @section "volume" or "replica" */
BR_MUST_CHECK int place_resolve(struct cli *cli, const char *word, const char *section,
                                struct place_address *ret_address, struct br_err *reterr);

#define PLACE_NAME_BYTES (PATH_MAX + 600)

/** place_name - how records name what a word means: a real path or a full address, in PLACE_NAME_BYTES; nothing is opened, it may be gone */
BR_MUST_CHECK int place_name(struct cli *cli, const char *word, const char *section, char *ret_name,
                             struct br_err *reterr);

// A local file or device, opened.
struct place {
    char path[PATH_MAX]; // real path
    struct br_guard_object object;
    struct br_file *file;
    struct br_dir *dir;    // its state; an empty folder that is gone when there is none and none was to be made
    struct br_dir *parent; // folder of a file, NULL for a device
    char name[NAME_MAX + 1];
    char side[PATH_MAX + 16]; // where its state lies, "" nowhere
    bool created;             // the file was made by this opening
    bool side_made;           // so was the folder of its state
    bool exists;
    bool empty;                      // new, or a file of size 0
    char holds[BR_GUARD_TEXT_BYTES]; // what is on it, "" nothing
    int look_fd;                     // read-only descriptor, for guards; -1 none
};

enum place_mode {
    PLACE_LOOK,   // read only, nothing is made
    PLACE_PLAN,   // the same, but what a TARGET would be refused for is refused
    PLACE_SOURCE, // read only; its state folder is made
    PLACE_TARGET, // read and write; file and state folder are made
};

/**
 * place_open - open a local object
 * TARGET and PLAN run br_guard_target(), before the descriptor that writes is opened, and opens devices exclusively.
 * -BR_E_BUSY when what holds a TARGET is another run of blkrep.
 * A missing file: made for TARGET (mode 0600), tolerated for LOOK and PLAN (exists false, file NULL), an error for SOURCE.
 * Owner: place_close()
 */
BR_MUST_CHECK int place_open(struct cli *cli, struct br_ring *ring, const char *path, enum place_mode mode,
                             struct place *ret_place, struct br_err *reterr);
/** place_close - @undo: remove what this opening made and nothing was put into: the folder of the state, the file */
void place_close(struct place *place, bool undo);
/**
 * place_name_full - after -BR_E_NO_SPACE: which folder has no room, put behind the text of @reterr
 * @folders  the folders that were written to, or files in them; NULL and "" are passed over
 * Each file system is named once; one that got room meanwhile, or is full by a quota only, is not.
 */
void place_name_full(const char *const *folders, size_t count, struct br_err *reterr);
/** place_ring - a ring as the --io and --buffers options of the verb ask */
BR_MUST_CHECK int place_ring(struct cli *cli, struct br_ring **ret_ring, struct br_err *reterr);

#endif
