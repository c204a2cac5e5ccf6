// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary between blkrep and blkrep-dm-helper: every request and reply as a plain struct. client.h has the calls, wire.h the bytes.
//
// Naming a thing. No request carries a free device number or device-mapper name. A request names a volume, and a place of that volume,
// `where`:
//
//     "top" "real" "era" "cow.1" ...   one of blkrep's own device-mapper devices, a *part*: small letters, digits, '.', '-' (31 at most).
//                                      Part "top" of volume NAME is /dev/mapper/NAME, any other part P is /dev/mapper/NAME-P. Its
//                                      device-mapper uuid is BLKREP-<the volume's uuid, 32 hex digits>-P, and that is what it is found by.
//     "@device"                        the device that the volume protects; may be someone else's device-mapper device (an LV, multipath)
//     "@pool" "@pool-meta"             the thin pool that "@device" is a thin volume of, and that pool's metadata device
//     "lvm:VG/P"                       the logical volume blkrep-NAME-P in the volume group VG, which must be one of the volume's places
//                                      or the group that "@device" lies in
//     "lvm-store:VG/P"                 of such a logical volume that is a snapshot with a store: the store; for reading
//     "nbd:P"                          the NBD device for which a process of blkrep serves part P of the volume (31 characters at most)
//     "ublk:P"                         the same by ublk; P has 6 characters at most
//     "/absolute/path"                 a device or file that the registration of the volume names (its device, its places)
//
// Anything else is refused with -BR_E_PERMISSION and a text that says what and why: the helper touches nothing that no volume or replica
// names. What a volume is comes from the registration (`STATE/volumes/NAME/registration`, written by dmh_register()), and, for opening
// only, from `[volume NAME] path=` and `[replica NAME] path=` of the configuration.
//
// All sizes and offsets are bytes; those of tables must be multiples of 512. All times are nanoseconds or milliseconds, as named.
// Text fields end with a zero byte. Lists are arrays with a count; a count above its maximum is refused, never cut.
#ifndef DMH_REQUEST_H
#define DMH_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#define DMH_VOLUME_MAX \
    65 // name of a volume with its final zero: letters, digits, '.', '_', '+', '-', none of '.' '-' first
#define DMH_WHERE_MAX   256 // a place, see above
#define DMH_PART_MAX    32  // a part with its final zero
#define DMH_UUID_TEXT   37
#define DMH_WWID_MAX    192
#define DMH_DM_NAME_MAX 128
#define DMH_DM_UUID_MAX 129
#define DMH_TYPE_MAX    16
#define DMH_PARAMS_MAX  512 // of one target's status or table line; a longer one is cut and says so

#define DMH_PLACES_MAX   16
#define DMH_TARGETS_MAX  64 // in one table
#define DMH_LIST_MAX     256
#define DMH_TOPS_MAX     32 // volumes in one window
#define DMH_INSIDE_MAX   64
#define DMH_LVM_JSON_MAX (96 * 1024)

#define DMH_HEAD_BYTES 65536 // what dmh_zero_head() zeroes

// Requests, in ranges with room.
enum dmh_op {
    DMH_OP_HELLO = 1,
    DMH_OP_REGISTER = 2,
    DMH_OP_UNREGISTER = 3,
    DMH_OP_VOLUME = 4,
    DMH_OP_VOLUMES = 5,
    DMH_OP_RECORD_OPEN = 6,
    DMH_OP_RECORD_KEEP = 7,

    DMH_OP_CREATE = 16,
    DMH_OP_LOAD = 17,
    DMH_OP_COPY_TABLE = 18,
    DMH_OP_CLEAR = 19,
    DMH_OP_RESUME = 20,
    DMH_OP_REMOVE = 21,
    DMH_OP_MESSAGE = 22,
    DMH_OP_STATUS = 23,
    DMH_OP_TABLE = 24,
    DMH_OP_INFO = 25,
    DMH_OP_LIST = 26,
    DMH_OP_WINDOW = 27,
    DMH_OP_SNAPSHOT_REMOVE = 28,
    DMH_OP_FREEZE = 29,
    DMH_OP_THAW = 30,

    DMH_OP_OPEN = 32,
    DMH_OP_ZERO_HEAD = 33,
    DMH_OP_FILE_MAKE = 34,
    DMH_OP_FILE_MAP = 35,
    DMH_OP_FILE_RELEASE = 36,

    DMH_OP_LVM_REPORT = 48,
    DMH_OP_LVM_CREATE = 49,
    DMH_OP_LVM_EXTEND = 50,
    DMH_OP_LVM_REMOVE = 51,
    DMH_OP_LVM_ACTIVATE = 52,
    DMH_OP_THIN_DELTA = 53,

    DMH_OP_NBD_CONNECT = 64,   // with 1 to DMH_SOCKETS_MAX sockets
    DMH_OP_NBD_RECONNECT = 65, // likewise
    DMH_OP_NBD_DISCONNECT = 66,
    DMH_OP_NBD_STATUS = 67,
    DMH_OP_NBD_LIST = 68,

    DMH_OP_UBLK_ADD = 80,
    DMH_OP_UBLK_START = 81,
    DMH_OP_UBLK_STOP = 82,
    DMH_OP_UBLK_DELETE = 83,
    DMH_OP_UBLK_RECOVER = 84,
    DMH_OP_UBLK_RECOVERED = 85,
    DMH_OP_UBLK_STATUS = 86,
    DMH_OP_UBLK_LIST = 87,
};

// ---- connection and registration ---------------------------------------------------------------------------------------------

#define DMH_PROTOCOL_VERSION 1

struct dmh_hello {
    uint32_t version; // DMH_PROTOCOL_VERSION of the client; a helper that does not speak it answers -BR_E_VERSION
};

struct dmh_welcome {
    uint32_t version;    // that both speak
    uint32_t helper_pid; // of the process that serves this connection
    uint32_t dm_version
        [3]; // of the kernel's device-mapper interface; zeros when the kernel has none, then every dm request fails
    bool peer_is_root; // may register volumes
    bool udev;         // device nodes are made by udevd; else by the helper
};

enum dmh_place_kind {
    DMH_PLACE_DEVICE = 1, // a block device for COW stores or metadata
    DMH_PLACE_FILE = 2,   // a file for the same, made by dmh_file_make()
    DMH_PLACE_VG = 3,     // a volume group, by name, in which LVs may be made
};

struct dmh_place {
    uint32_t kind;
    char path[DMH_WHERE_MAX]; // absolute; of a volume group its name
};

struct dmh_volume {
    char volume[DMH_VOLUME_MAX];
    char uuid[DMH_UUID_TEXT]; // 8-4-4-4-12
    char device
        [DMH_WHERE_MAX]; // absolute path, best a stable one below /dev/disk/by-id; "" in a reply: not registered, only configured
    char wwid[DMH_WWID_MAX]; // of the device, in blkrep's words; the helper only keeps it; "" none
    uint32_t place_count;
    struct dmh_place places[DMH_PLACES_MAX];
};

// A request or reply that is about a whole volume.
struct dmh_volume_ref {
    char volume[DMH_VOLUME_MAX];
};

struct dmh_volumes {
    uint32_t total_count;
    uint32_t volume_count;
    struct dmh_volume_ref volumes[DMH_LIST_MAX];
};

// What blkrep itself knows of a volume lies beside the registration, where only root may write. A member of the group gets at it through
// the helper, which neither reads nor believes it: what may be touched is in the registration alone.
#define DMH_RECORD_NAME     "stack.json"
#define DMH_RECORD_NEW_NAME "stack.json.new"
#define DMH_RECORD_LOCK     "stack.lock"

enum dmh_record_file {
    DMH_RECORD_READ = 1, // the record, for reading
    DMH_RECORD_NEW = 2,  // an empty file that dmh_record_keep() puts in its place
    DMH_RECORD_HOLD = 3, // the file that blkrep locks with flock()
};

struct dmh_record_open {
    char volume[DMH_VOLUME_MAX];
    uint32_t file; // enum dmh_record_file
};

// ---- device-mapper ------------------------------------------------------------------------------------------------------------

struct dmh_ref {
    char volume[DMH_VOLUME_MAX];
    char where[DMH_WHERE_MAX];
};

enum dmh_target_kind {
    DMH_TARGET_LINEAR = 1,
    DMH_TARGET_ERA = 2,
    DMH_TARGET_SNAPSHOT = 3,
    DMH_TARGET_SNAPSHOT_ORIGIN = 4,
    DMH_TARGET_ERROR = 5,
    DMH_TARGET_ZERO = 6,
    DMH_TARGET_THIN = 7,
    DMH_TARGET_THIN_POOL = 8, // in replies only
    DMH_TARGET_OTHER = 9,     // in replies only
};

// One target of a table to load. What a kind does not use is zero or "".
struct dmh_target {
    uint32_t kind;
    uint64_t start_bytes; // the first starts at 0, each further one where the one before ends
    uint64_t length_bytes;
    char device[DMH_WHERE_MAX]; // linear: what it maps; era, snapshot, snapshot-origin: the origin; thin: the pool
    char store[DMH_WHERE_MAX];  // era: metadata device; snapshot: COW device; thin: external origin or ""
    uint64_t offset_bytes;      // linear: where on the device
    uint64_t grain_bytes;       // era: block size; snapshot: chunk size (4 KiB to 512 KiB, a power of two)
    uint64_t thin_id;
    bool persistent; // snapshot: true gives "PO", a store that survives a reboot and tells an overflow; false "N"
};

struct dmh_table {
    uint32_t target_count;
    struct dmh_target targets[DMH_TARGETS_MAX];
};

struct dmh_create {
    struct dmh_ref device;
    bool read_only;
    bool activate; // load and resume the table; false: load it inactive. Without targets the device has no table.
    struct dmh_table table; // may be empty
};

struct dmh_created {
    uint32_t major;
    uint32_t minor;
};

struct dmh_load {
    struct dmh_ref device; // a part, or "@device" when that is a device-mapper device
    bool read_only;
    struct dmh_table table;
};

struct dmh_copy_table {
    struct dmh_ref from; // its live table, of any targets, word for word; keys in it never leave the helper
    char to[DMH_WHERE_MAX];
    bool read_only;
};

struct dmh_remove {
    struct dmh_ref device; // a part only
    uint32_t retry_ms;     // try again while it is open, up to this long (0 to 60000)
    bool deferred;         // when it is still open then: let the kernel remove it at the last close
};

struct dmh_removed {
    bool deferred; // still there; the kernel removes it at the last close
};

enum dmh_message_kind {
    DMH_MESSAGE_ERA_CHECKPOINT = 1,
    DMH_MESSAGE_ERA_TAKE_METADATA_SNAP = 2,
    DMH_MESSAGE_ERA_DROP_METADATA_SNAP = 3,
    DMH_MESSAGE_POOL_CREATE_SNAP = 4, // refused on a pool that LVM keeps: use dmh_lvm_create()
    DMH_MESSAGE_POOL_DELETE = 5,      // likewise
    DMH_MESSAGE_POOL_RESERVE_METADATA_SNAP = 6,
    DMH_MESSAGE_POOL_RELEASE_METADATA_SNAP = 7,
};

struct dmh_message {
    struct dmh_ref device;
    uint32_t kind;
    uint64_t thin_id;        // create_snap: the new id; delete: the one to delete
    uint64_t origin_thin_id; // create_snap
};

struct dmh_query {
    struct dmh_ref device;
    bool inactive; // of the inactive table
};

enum dmh_snapshot_state {
    DMH_SNAPSHOT_VALID = 1,
    DMH_SNAPSHOT_INVALID = 2,  // for good: store full, or its device failed
    DMH_SNAPSHOT_OVERFLOW = 3, // for good: store full
    DMH_SNAPSHOT_MERGE_FAILED = 4,
    DMH_SNAPSHOT_UNKNOWN = 5, // the kernel says so while it has not read the store
};

// One target's status. `params` is the kernel's own text; the members of the kind are parsed from it (documented in the kernel's
// admin-guide/device-mapper/{era,snapshot,thin-provisioning}.rst). A text that is not as documented gives parsed = false, never a guess.
struct dmh_target_status {
    uint32_t kind;
    char type[DMH_TYPE_MAX]; // the kernel's name of the target
    uint64_t start_bytes;
    uint64_t length_bytes;
    bool parsed;
    bool failed; // the target says Fail or Error

    uint64_t used_bytes;     // snapshot: of the store; era, thin-pool: of the metadata device; thin: mapped
    uint64_t total_bytes;    // the same, in all; thin: highest mapped byte
    uint64_t metadata_bytes; // snapshot: what of used is the store's own; a fresh store has used == metadata

    uint32_t snapshot_state; // enum dmh_snapshot_state

    uint64_t era;                 // era: the current one
    bool has_metadata_snap;       // era, thin-pool
    uint64_t metadata_snap_block; // in metadata blocks of 4 KiB

    uint64_t transaction_id; // thin-pool
    uint64_t data_used_blocks;
    uint64_t data_total_blocks;
    bool read_only;   // thin-pool: ro or out_of_data_space
    bool needs_check; // thin-pool

    char params[DMH_PARAMS_MAX];
};

struct dmh_status {
    uint32_t total_count; // what the table has; above DMH_TARGETS_MAX the rest is left out
    uint32_t target_count;
    struct dmh_target_status targets[DMH_TARGETS_MAX];
};

// One target of a table as the kernel has it. Devices are numbers, because they need not be ours; 0:0 is none.
struct dmh_target_row {
    uint32_t kind;
    char type[DMH_TYPE_MAX];
    uint64_t start_bytes;
    uint64_t length_bytes;
    bool parsed;
    uint32_t device_major, device_minor;
    uint32_t store_major, store_minor;
    uint64_t offset_bytes;
    uint64_t grain_bytes;
    uint64_t thin_id;
    bool persistent;
    char params[DMH_PARAMS_MAX]; // "" for kinds that may hold keys (DMH_TARGET_OTHER)
};

struct dmh_rows {
    uint32_t total_count;
    uint32_t target_count;
    struct dmh_target_row targets[DMH_TARGETS_MAX];
};

struct dmh_info {
    char name[DMH_DM_NAME_MAX];
    char uuid[DMH_DM_UUID_MAX];
    char volume[DMH_VOLUME_MAX]; // "" when no registration has this uuid
    char part[DMH_PART_MAX];     // "@device" for the volume's own device
    uint32_t major;
    uint32_t minor;
    uint32_t open_count;
    uint32_t event_nr;
    uint32_t target_count; // of the live table
    bool suspended;
    bool live_table;
    bool inactive_table;
    bool read_only;
    bool deferred_remove;
};

struct dmh_list {
    char volume[DMH_VOLUME_MAX]; // "" for all
    uint32_t skip;               // the first so many, for a list longer than DMH_LIST_MAX
};

struct dmh_listed {
    uint32_t total_count;
    uint32_t device_count;
    struct dmh_info devices[DMH_LIST_MAX];
};

// ---- the suspend window -----------------------------------------------------------------------------------------------------

struct dmh_window_top {
    struct dmh_ref device;         // a part or "@device"; an inactive table that it has becomes live when it is resumed
    bool freeze;                   // freeze the filesystem on it (suspend with lockfs); false: only its I/O stops
    bool no_flush;                 // suspend without waiting for queued I/O: for growing a store below a snapshot
    char checkpoint[DMH_PART_MAX]; // the volume's era part to roll before the window, "" for none
};

struct dmh_window_inside {
    struct dmh_ref device; // a part with an inactive table; with `renew` a snapshot "lvm:VG/P" of the volume's device
    bool fresh; // a snapshot whose store must be empty (used == metadata); found otherwise the window is not begun
    bool
        renew; // LVM made it before, of an earlier moment, and nobody has read it: let it be of this window's (dm-helper/renew.h)
};

// All or nothing: sync filesystems, roll eras, suspend tops in order, resume what is inside in order, resume tops in reverse order.
struct dmh_window {
    uint32_t top_count;
    struct dmh_window_top tops[DMH_TOPS_MAX];
    uint32_t inside_count;
    struct dmh_window_inside inside[DMH_INSIDE_MAX];
    uint32_t deadline_ms; // 1 to 60000: from the first suspend on; then the watchdog undoes everything
    uint32_t
        sync_budget_ms; // syncfs rounds before the window may take this long in all; 0: none is made and nothing is measured
    uint32_t
        sync_good_ms; // a round as short as this is good enough to begin; 0: 100. When rounds get no shorter, half the deadline is
};

struct dmh_window_top_done {
    uint64_t suspend_ns; // the suspend call: filesystem freeze, and waiting for what was in flight
    uint64_t
        freeze_ns; // suspend_ns where a filesystem was mounted and frozen, else 0: the kernel does not tell the two shares apart
    uint64_t window_ns;           // from the start of the suspend call to the end of the resume call
    bool mounted;                 // a filesystem was on it
    struct dmh_target_status era; // of `checkpoint` after it was rolled; kind 0 when there was none
};

struct dmh_window_done {
    uint32_t top_count;
    struct dmh_window_top_done tops[DMH_TOPS_MAX];
    uint64_t window_ns; // from the first suspend's start to the last resume's end
    uint64_t sync_ns;   // all rounds together
    uint32_t sync_rounds;
    uint64_t sync_last_ns;
};

struct dmh_snapshot_remove {
    struct dmh_window_top top; // what the snapshot's origin belongs to: suspended while it goes
    uint32_t part_count;
    struct dmh_ref parts[DMH_INSIDE_MAX]; // the snapshots, of the top's volume
    uint32_t deadline_ms;
    uint32_t retry_ms; // while one is open
    bool force;        // take it away from readers too: they get errors; else an open snapshot is -BR_E_BUSY
};

struct dmh_freeze {
    char volume[DMH_VOLUME_MAX];
    char mount[DMH_WHERE_MAX]; // a mount point of a filesystem on one of the volume's devices
    uint32_t
        deadline_ms; // 1 to 60000: from the freeze until it is thawed, whatever happens; a sync before it has as long
};

struct dmh_thawed {
    uint64_t freeze_ns; // the freeze call
    uint64_t frozen_ns; // how long it was frozen
};

// ---- devices and files ------------------------------------------------------------------------------------------------------

enum dmh_owner {
    DMH_OWNER_VOLUME = 1,
    DMH_OWNER_REPLICA = 2, // `[replica NAME]` of the configuration; only "@device"
};

struct dmh_open {
    uint32_t owner;
    struct dmh_ref device;
    bool write;  // exclusively for reading and writing (O_EXCL: refused while it is mounted or held); else read only
    bool direct; // O_DIRECT
};

struct dmh_opened {
    uint64_t size_bytes;
    uint32_t major;
    uint32_t minor;
    uint32_t sector_bytes;
};

struct dmh_file_make {
    struct dmh_ref file;
    uint64_t
        size_bytes; // a smaller file that is there grows, a larger one stays: a growth that was cut; multiple of 4096
};

struct dmh_file_map {
    struct dmh_ref file;
    char part
        [DMH_PART_MAX]; // made and activated; when it is there already its new table is loaded inactive, for a window
};

struct dmh_file_release {
    struct dmh_ref file;
    bool remove; // the file too
};

struct dmh_file_mapped {
    uint32_t major;
    uint32_t minor;
    uint64_t size_bytes;
    bool inactive; // resume it in a window
};

// ---- LVM --------------------------------------------------------------------------------------------------------------------

enum dmh_lvm_report_kind {
    DMH_LVM_LVS = 1, // `lvs -a` of one group
    DMH_LVM_VGS = 2, // `vgs` of one group
};

struct dmh_lvm_report {
    char volume[DMH_VOLUME_MAX];
    uint32_t kind;
    char vg[DMH_DM_NAME_MAX]; // "" for the group of "@device"
};

struct dmh_lvm_json {
    char json[DMH_LVM_JSON_MAX]; // as LVM printed it with --reportformat json, --units b
};

enum dmh_lvm_create_kind {
    DMH_LVM_LINEAR = 1,        // a plain LV: a COW store or metadata
    DMH_LVM_SNAPSHOT = 2,      // lvcreate --snapshot --size of "@device"
    DMH_LVM_THIN_SNAPSHOT = 3, // lvcreate --snapshot of "@device", a thin LV; activated read only
};

// The LV is called blkrep-VOLUME-PART and tagged "blkrep"; that is the only kind of LV that extend and remove touch.
struct dmh_lvm_create {
    char volume[DMH_VOLUME_MAX];
    uint32_t kind;
    char vg[DMH_DM_NAME_MAX]; // "" for the group of "@device"
    char part[DMH_PART_MAX];
    uint64_t size_bytes; // not for thin snapshots
};

struct dmh_lvm_change {
    char volume[DMH_VOLUME_MAX];
    char vg[DMH_DM_NAME_MAX];
    char part[DMH_PART_MAX];
    uint64_t size_bytes; // extend: the new size
};

// Two of the volume's own thin snapshots, in the group of "@device".
struct dmh_thin_delta {
    char volume[DMH_VOLUME_MAX];
    char older[DMH_PART_MAX];
    char newer[DMH_PART_MAX];
};

// What engine/track/thin_delta.h needs to believe thin_delta's output, which is behind the descriptor: the kernel's own numbers.
struct dmh_thin_told {
    uint64_t older_id;
    uint64_t newer_id;
    uint64_t older_mapped_bytes;
    uint64_t newer_mapped_bytes;
    uint64_t block_bytes;    // of the pool
    uint64_t transaction_id; // of the pool
    uint64_t output_bytes;
};

// ---- NBD --------------------------------------------------------------------------------------------------------------------
//
// A process of blkrep without privileges serves block I/O; the helper makes, finds and removes the kernel's device for it, and never
// sees a byte. The device outlives server, helper and blkrep. It is found again by what the kernel keeps with it, the *backend
// identifier* (since Linux 5.14): BLKREP-<the volume's uuid, 32 hex digits>-PART. A device that does not carry it is somebody else's.
//
//     server                     root's blkrep               helper                 kernel
//     socketpair, one end  -->   dmh_nbd_connect()     -->   checks it        -->   /dev/nbdN, I/O goes to the server
//     killed                                                                        I/O waits, dead_s seconds long
//     a new one, new socket -->  dmh_nbd_reconnect()   -->   finds N          -->   what waited is sent to the new server
//                                dmh_nbd_disconnect()  -->   nobody uses it?  -->   gone
//
// Only root may make, reconnect and disconnect: whoever serves a device decides what its users read, and what becomes of what they write.

#define DMH_SOCKETS_MAX 16 // connections of one device

#define DMH_NBD_TIMEOUT_MAX_S UINT32_C(300)
#define DMH_NBD_DEAD_MAX_S    UINT32_C(3600)

// The sockets are connected stream sockets (Unix or TCP) in NBD's transmission phase; the helper closes its copies. A connection on which a
// request takes longer than timeout_s is given up, as if the server had died. When none is left, I/O waits for dmh_nbd_reconnect() as long
// as dead_s says, and fails then.
struct dmh_nbd_connect {
    struct dmh_ref device; // "nbd:PART"
    uint64_t size_bytes;   // a multiple of block_bytes
    uint32_t block_bytes;  // 512 to 4096, a power of two
    uint32_t timeout_s;    // 1 to DMH_NBD_TIMEOUT_MAX_S
    uint32_t dead_s;       // 0 to DMH_NBD_DEAD_MAX_S
    bool read_only;
    bool flush;      // the server has a volatile cache and takes NBD_CMD_FLUSH
    bool fua;        // and NBD_CMD_FLAG_FUA; only with flush
    bool trim;       // it takes NBD_CMD_TRIM
    bool multi_conn; // what was flushed on one connection is seen on all; needed for more than one socket
};

struct dmh_nbd_reconnect {
    struct dmh_ref device;
    uint32_t retry_ms; // 0 to 60000: until the kernel has noticed that the old connections are dead
};

struct dmh_nbd_reconnected {
    uint32_t taken_count; // of the sockets, the first so many; at least 1
};

struct dmh_nbd_disconnect {
    struct dmh_ref device;
    bool force; // though it is mounted or held: its users get errors
};

// A device that is served.
struct dmh_nbd_info {
    char volume[DMH_VOLUME_MAX]; // "" when no registration has the uuid that it carries
    char part[DMH_PART_MAX];
    uint32_t index; // N of /dev/nbdN
    uint32_t major;
    uint32_t minor;
    uint64_t size_bytes;
    bool read_only;
    bool connected; // it has a configuration; whether its sockets live the kernel does not tell
    bool in_use;    // it, or a partition of it, is mounted, held by another device, or swapped to
};

struct dmh_nbd_listed {
    uint32_t total_count;
    uint32_t device_count;
    struct dmh_nbd_info devices[DMH_LIST_MAX];
};

// ---- ublk -------------------------------------------------------------------------------------------------------------------
//
// The same with the kernel's ublk driver, where there is one (Linux 6.5): the server speaks to the kernel itself, through /dev/ublkcN, of
// which it gets the open descriptor, and needs no privilege for it.
//
//     server                     root's blkrep               helper                 kernel
//                                dmh_ublk_add()        -->   checks it        -->   /dev/ublkcN
//     fetches requests      <--  the descriptor        <--
//                                dmh_ublk_start()      -->                    -->   /dev/ublkbN, once all queues were fetched from
//     killed                                                                        QUIESCED: I/O waits, as long as it takes
//     fetches requests      <--  dmh_ublk_recover()    -->   finds N          -->   the queues are made new
//                                dmh_ublk_recovered()  -->                    -->   LIVE: what waited goes on
//                                dmh_ublk_delete()     -->   nobody uses it?  -->   the server's fetches are aborted; gone
//
// A device carries a tag of the volume and the part (ublk.h) that a later helper finds it by. Without `recovery` the death of the server stops
// the device: its users get errors. Only root may do any of it but look.

#define DMH_UBLK_PART_MAX   7 // a part's name with its final zero, for it has to fit into the tag
#define DMH_UBLK_QUEUES_MAX 64
#define DMH_UBLK_DEPTH_MAX  1024
#define DMH_UBLK_IO_MAX     (UINT32_C(32) << 20)

struct dmh_ublk_add {
    struct dmh_ref device;   // "ublk:PART"
    uint64_t size_bytes;     // a multiple of block_bytes
    uint32_t block_bytes;    // 512 to 4096, a power of two
    uint32_t physical_bytes; // block_bytes to 4096, a power of two
    uint32_t queue_count;    // 1 to DMH_UBLK_QUEUES_MAX; the kernel makes no more than there are CPUs
    uint32_t queue_depth;    // 1 to DMH_UBLK_DEPTH_MAX
    uint32_t io_bytes_max;   // of one request: 4096 to DMH_UBLK_IO_MAX, a multiple of 4096
    bool read_only;
    bool flush;     // the server has a volatile cache and takes UBLK_IO_OP_FLUSH
    bool fua;       // and UBLK_IO_F_FUA; only with flush
    bool trim;      // it takes UBLK_IO_OP_DISCARD
    bool zeroes;    // it takes UBLK_IO_OP_WRITE_ZEROES
    bool recovery;  // another server may take a dead one's place
    bool reissue;   // and gets the requests that the dead one had, maybe twice; else those fail. Only with recovery
    bool user_copy; // the server reads and writes data through its descriptor (UBLK_F_USER_COPY)
};

enum dmh_ublk_state {
    DMH_UBLK_DEAD = 1,     // not started yet, or stopped: there is no block device
    DMH_UBLK_LIVE = 2,     // it is served
    DMH_UBLK_QUIESCED = 3, // its server has died; I/O waits
    DMH_UBLK_OTHER = 4,    // one of a later kernel
};

struct dmh_ublk_info {
    char volume[DMH_VOLUME_MAX]; // "" when no registration fits the tag that it carries
    char part[DMH_PART_MAX];
    uint32_t index; // N of /dev/ublkcN and /dev/ublkbN
    uint32_t state; // enum dmh_ublk_state
    uint32_t major; // of /dev/ublkbN; 0:0 when there is none
    uint32_t minor;
    uint64_t size_bytes; // 0 when there is none
    uint32_t server_pid; // that dmh_ublk_start() named; 0 none
    uint32_t queue_count;
    uint32_t queue_depth;
    uint32_t io_bytes_max;
    bool read_only;
    bool in_use; // it, or a partition of it, is mounted, held by another device, or swapped to
    bool recovery;
    bool reissue;
    bool user_copy;
};

struct dmh_ublk_listed {
    uint32_t total_count;
    uint32_t device_count;
    struct dmh_ublk_info devices[DMH_LIST_MAX];
};

// START and RECOVERED
struct dmh_ublk_serve {
    struct dmh_ref device;
    uint32_t pid;         // of the server
    uint32_t deadline_ms; // 1 to 60000: for it to fetch from all queues
};

struct dmh_ublk_recover {
    struct dmh_ref device;
    uint32_t retry_ms; // 0 to 60000: until the kernel has noticed that the old server is dead
};

// STOP and DELETE. The server has as long as the deadline says to end the requests that it has, and for a deletion to close its descriptor.
struct dmh_ublk_end {
    struct dmh_ref device;
    uint32_t deadline_ms; // 1 to 60000
    bool force;           // though it is mounted or held: its users get errors
};

struct dmh_done {
    uint32_t unused; // there is nothing to say but that it was done
};

#endif
