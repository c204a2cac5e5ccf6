// SPDX-License-Identifier: Apache-2.0
//
// The format of a repository, version 1, all of it; blkrep-repository(5) says the same for who has only the page. A repository is a store of
// named objects that never change: a directory, a server, later an object store. All numbers are little-endian.
//
//     config              what the repository is; written last by init, so that it is there or there is no repository
//     keys/ID             one way to the master key; ID: 32 hex digits
//     keys/ID-sum         what keys/ID holds, for who comes another way and could not tell
//     epochs/NNNNNNNN     the key that objects of epoch N are sealed with; N from 1, eight decimal digits
//     epochs/NNNNNNNN-shredded   that key was given up for ever, on purpose: what was sealed with it is nobody's loss
//     packs/AB/NAME       chunks of data; NAME: the pack's salt as 64 hex digits, AB its first two
//     points/VOLUME/ID    a recovery point; VOLUME and ID: uuids as 32 hex digits; or the tombstone that keeps it from ever being one
//     leases/RUN          a writer at work; RUN: its uuid, as in its packs
//     doomed/ID           packs that a prune means to delete
//     holds/VOLUME/ID     a point that no prune removes
//     history/HOST/RUN-NN a note of a run, two decimal digits; HOST: 32 hex digits of a hash of its name, RUN: a uuid as 32 hex digits
//     tmp/...             of the directory store: what is being written; nobody reads it
//
// Every object begins with a head:
//
//      0   8  magic "blkrepRO"
//      8   2  version, 1
//     10   1  kind: 1 config, 2 key, 3 epoch, 4 pack, 5 point, 6 lease, 7 tombstone, 8 doomed, 9 hold, 10 history, 11 shredded epoch,
//           12 sum of a key
//     11   1  suite, 1: HKDF-SHA256, AES-256-GCM, HMAC-SHA256, scrypt
//     12   4  epoch of the key that seals it; 0: the master key (config, epochs, kinds 6 to 9), or what opens the master key (keys)
//     16  16  uuid of the repository
//     32  32  salt, random
//     64   4  length p of what follows in clear
//     68   4  length n of what is sealed; 0 in a pack, whose frames say it
//     72   8  zeros
//     80   p  in clear
//     80+p n  sealed, then its tag (16); both absent in a pack
//
// What is sealed is sealed with AES-256-GCM by the key HKDF-SHA256(key of the epoch, salt, "blkrep object 1"), nonce 0, and with the head,
// what is in clear, and the object's name as additional data: an object that is changed, renamed or moved to another repository does not open.
// Nonces are 12 bytes, the number in the first 8. Tags are 16 bytes.
//
// The master key is 32 random bytes. Without encryption it is the 32 bytes "blkrep repository, not encrypted" and all else is the same: then
// sealing is a checksum, for everybody to make.
//
//     config   clear:  encryption (u8; 0 none, 1 keys), zeros (7), when made (u64, ns since 1970)
//              sealed: id secret (32)
//     key      clear:  way (u8; 1 passphrase, 2 key file, 3 recovery key), log2 N, r, p of scrypt (3 u8; else 0), salt of scrypt (32; else zeros), when made (u64), label (u16 length, bytes)
//              sealed: master key (32)
//              by the key scrypt(passphrase, salt, N, r, p), for a key file HKDF-SHA256(its 32 bytes, 32 zeros, "blkrep key file 1"), for
//              a recovery key likewise with "blkrep recovery key 1"
//     epoch    clear:  nothing
//              sealed: the epoch's key (32), when made (u64)
//     shredded clear:  nothing
//              sealed: when (u64), ns since 1970, by the master key. Where it is, the epoch counts as gone, also while its key is still there
//     sum      clear:  nothing
//              sealed: SHA-256 of the key's object (32), by the master key; put there behind the key, and removed before it
//     history  clear:  nothing
//              sealed: a JSON object, see engine/repo/history.h; by the key of an epoch
//     point    clear:  nothing
//              sealed: see struct br_point; fields in its order, texts as u16 length and bytes, tags as u16 count and texts
//     lease    clear:  nothing
//              sealed: see struct br_lease; fields in its order but for the run, which is in the name
//     tombstone, hold
//              clear:  nothing
//              sealed: see struct br_point_mark; when made (u64), host, why
//     doomed   clear:  nothing
//              sealed: when made (u64), host, number of packs (u32), their salts (32 each)
//
// A pack's clear part is the uuid of the run that wrote it (16). Behind it:
//
//     frames        each: its chunks one behind the other, raw or as one zstd frame, sealed with the pack's key and nonce = the frame's
//                   number from 0; then the tag
//     directory     sealed likewise, nonce = 2^63 + the number of frames, so that no frame passes for one
//     trailer (32)  offset of the directory in the pack (u64), length of the directory without its tag (u32), number of frames (u32), magic
//                   "blkrepPK", XXH3-64 of these 24 bytes
//
//     directory:    number of frames (u32), number of chunks (u32)
//                   for each frame: length sealed, without the tag (u32), length raw (u32), codec (u8; 0 raw, 1 zstd), chunks in it (u32)
//                   for each chunk: kind (u8), length (u32), id (32), of an overlay also the id of its base (32)
//
// Additional data is for all of them the pack's head, its clear part and its name. A frame holds at most 1 MiB raw.
//
// A chunk's id is HMAC-SHA256(HKDF-SHA256(id secret, 32 zeros, "blkrep domain 1" || domain (16)), kind of hash (u8; 1 leaf, 2 node) || hash),
// the hash being the leaf or node hash of the version tree (engine/map/tree.h). So equal content has equal ids within a domain, and tells
// nothing to who lacks the secret. Kinds:
//
//     1 block    the data of a block, whole
//     2 overlay  pages that became zeros (u16 mask), pages that follow (u16 mask), these pages, ascending, the volume's last one cut at its end; all
//                others are those of the base, which is a chunk of kind 1 in the same domain. The leaf is that of the result.
//     3 node     an encoded node of the version tree without page section; refs are 1 where a child has a node, else 0
//
// A block and an overlay may stand for one id, each in a pack of its own; either will do. Leaves ZERO and UNREADABLE have no chunk.
//
// Upgrades: a reader refuses a version, suite, hash id or codec that it does not know, and passes over kinds of names that it does not
// know. What version 1 wrote stays readable for ever (tests/format/golden).
#ifndef BR_CODEC_REPOSITORY_H
#define BR_CODEC_REPOSITORY_H

#include "engine/codec/delta.h"
#include "engine/codec/seal.h"

#define BR_OBJECT_HEAD_BYTES  80u
#define BR_OBJECT_CLEAR_MAX   4096u
#define BR_OBJECT_SEALED_MAX  (1024u * 1024u)
#define BR_OBJECT_NAME_BYTES  96u // with the final zero
#define BR_OBJECT_BYTES_MAX   (BR_OBJECT_HEAD_BYTES + BR_OBJECT_CLEAR_MAX + BR_OBJECT_SEALED_MAX + BR_SEAL_TAG_BYTES)
#define BR_OBJECT_INFO        "blkrep object 1" // what an object's own key is derived for
#define BR_PACK_CLEAR_BYTES   BR_UUID_BYTES
#define BR_PACK_FRAMES_AT     (BR_OBJECT_HEAD_BYTES + BR_PACK_CLEAR_BYTES)
#define BR_PACK_TRAILER_BYTES 32u
#define BR_FRAME_RAW_MAX      (1024u * 1024u)
#define BR_FRAME_CHUNKS_MAX   (BR_FRAME_RAW_MAX / 4u)
#define BR_PACK_FRAMES_MAX    65536u
#define BR_PACK_DIRECTORY_MAX (64u * 1024u * 1024u)
#define BR_EPOCH_MAX          99999999u
#define BR_DIRECTORY_NONCE    (UINT64_C(1) << 63)

enum br_object_kind {
    BR_OBJECT_CONFIG = 1,
    BR_OBJECT_KEY = 2,
    BR_OBJECT_EPOCH = 3,
    BR_OBJECT_PACK = 4,
    BR_OBJECT_POINT = 5,
    BR_OBJECT_LEASE = 6,
    BR_OBJECT_TOMBSTONE = 7,
    BR_OBJECT_DOOMED = 8,
    BR_OBJECT_HOLD = 9,
    BR_OBJECT_HISTORY = 10,
    BR_OBJECT_SHREDDED = 11,
    BR_OBJECT_KEY_SUM = 12,
};

// What the head says of an object.
struct br_object {
    enum br_object_kind kind;
    uint32_t epoch;
    struct br_uuid repository;
    uint8_t salt[BR_SALT_BYTES];
};

/** br_object_kind_name - "config", "key", "epoch", "pack", "point", "lease", "tombstone", "doomed", "hold", "history", "shredded epoch", "sum of a key"; "unknown" */
const char *br_object_kind_name(enum br_object_kind kind);

/** br_salt_order - for qsort() and bsearch() of salts, ascending */
static inline int br_salt_order(const void *a, const void *b)
{
    return memcmp(a, b, BR_SALT_BYTES);
}

// Names. Each gives the name of an object in the store; a name that is none of these belongs to somebody else, or to a newer version.
/** br_name_key, br_name_epoch, br_name_pack, br_name_point, br_name_lease, br_name_doomed, br_name_hold - into @name, BR_OBJECT_NAME_BYTES */
void br_name_key(const struct br_uuid *id, char name[BR_OBJECT_NAME_BYTES]);
void br_name_key_sum(const struct br_uuid *id, char name[BR_OBJECT_NAME_BYTES]);
void br_name_epoch(uint32_t epoch, char name[BR_OBJECT_NAME_BYTES]);
void br_name_pack(const uint8_t salt[BR_SALT_BYTES], char name[BR_OBJECT_NAME_BYTES]);
void br_name_point(const struct br_uuid *volume, const struct br_uuid *point, char name[BR_OBJECT_NAME_BYTES]);
void br_name_lease(const struct br_uuid *run, char name[BR_OBJECT_NAME_BYTES]);
void br_name_doomed(const struct br_uuid *id, char name[BR_OBJECT_NAME_BYTES]);
void br_name_hold(const struct br_uuid *volume, const struct br_uuid *point, char name[BR_OBJECT_NAME_BYTES]);
/** br_name_shredded, br_name_history - likewise; @note 0 to 99 */
void br_name_shredded(uint32_t epoch, char name[BR_OBJECT_NAME_BYTES]);
void br_name_history(const struct br_uuid *host, const struct br_uuid *run, unsigned note,
                     char name[BR_OBJECT_NAME_BYTES]);
bool br_name_parse_shredded(const char *name, uint32_t *ret_epoch);
bool br_name_parse_history(const char *name, struct br_uuid *ret_host, struct br_uuid *ret_run, unsigned *ret_note);
/** br_name_parse_KIND - what a name of just that form says; false: of another form */
bool br_name_parse_key(const char *name, struct br_uuid *ret_id);
bool br_name_parse_key_sum(const char *name, struct br_uuid *ret_id);
bool br_name_parse_epoch(const char *name, uint32_t *ret_epoch);
bool br_name_parse_pack(const char *name, uint8_t ret_salt[BR_SALT_BYTES]);
bool br_name_parse_point(const char *name, struct br_uuid *ret_volume, struct br_uuid *ret_point);
bool br_name_parse_lease(const char *name, struct br_uuid *ret_run);
bool br_name_parse_doomed(const char *name, struct br_uuid *ret_id);
bool br_name_parse_hold(const char *name, struct br_uuid *ret_volume, struct br_uuid *ret_point);

/** br_object_put_head - the head alone; a pack's @secret_len is 0 */
void br_object_put_head(const struct br_object *object, size_t clear_len, size_t secret_len,
                        uint8_t head[BR_OBJECT_HEAD_BYTES]);
/**
 * br_object_seal - a whole object that is no pack
 * @key      of the epoch (the master key, what opens the master key)
 * @name     under which it will be stored
 * @to       appended to
 * Errors: -BR_E_NOMEM
 */
BR_MUST_CHECK int br_object_seal(const struct br_object *object, const char *name, const struct br_key *key,
                                 const void *clear, size_t clear_len, const void *secret, size_t secret_len,
                                 struct br_buf *to, struct br_err *reterr);
/**
 * br_object_head - what the head of @bytes says, without a key
 * @len  at least BR_OBJECT_HEAD_BYTES, or it is CORRUPT
 * @ret_clear, @ret_clear_len  where in @bytes the clear part lies; NULL when not wanted
 * Errors: -BR_E_CORRUPT no object, or one that is cut; -BR_E_VERSION
 */
BR_MUST_CHECK int br_object_head(const void *bytes, size_t len, struct br_object *ret_object, const uint8_t **ret_clear,
                                 size_t *ret_clear_len, struct br_err *reterr);
/**
 * br_object_open - prove and decrypt a whole object that is no pack
 * @secret  the sealed part is appended; wipe it when it holds keys
 * Errors: as br_object_head(); -BR_E_CORRUPT not sealed with @key, under @name, in just this form
 */
BR_MUST_CHECK int br_object_open(const void *bytes, size_t len, const char *name, const struct br_key *key,
                                 struct br_buf *secret, struct br_err *reterr);

// Keys --------------------------------------------------------------------------------------------------------------------------------

/** br_master_key_published - the one of a repository without encryption */
void br_master_key_published(struct br_key *ret_key);

struct br_repo_config {
    struct br_uuid repository;
    bool encrypted;
    uint64_t made_unix_ns;
    struct br_key id_secret;
};
/** br_repo_config_seal, br_repo_config_open - the object "config"; errors as br_object_seal() and br_object_open() */
BR_MUST_CHECK int br_repo_config_seal(const struct br_repo_config *config, const uint8_t salt[BR_SALT_BYTES],
                                      const struct br_key *master, struct br_buf *to, struct br_err *reterr);
BR_MUST_CHECK int br_repo_config_open(const void *bytes, size_t len, const struct br_key *master,
                                      struct br_repo_config *ret_config, struct br_err *reterr);
/** br_repo_config_look - what needs no key, and is not proven: uuid, encrypted, made_unix_ns */
BR_MUST_CHECK int br_repo_config_look(const void *bytes, size_t len, struct br_repo_config *ret_config,
                                      struct br_err *reterr);

enum br_key_way {
    BR_KEY_PASSPHRASE = 1,
    BR_KEY_FILE = 2,
    BR_KEY_RECOVERY = 3,
};

// One way to the master key.
struct br_repo_key {
    struct br_uuid id;
    struct br_uuid repository;
    enum br_key_way way;
    struct br_scrypt scrypt; // of a passphrase
    uint64_t made_unix_ns;
    char label[BR_LABEL_BYTES]; // for people
};
/** br_key_of_file - the key that a key file's 32 bytes stand for */
BR_MUST_CHECK int br_key_of_file(const struct br_key *file, struct br_key *ret_key, struct br_err *reterr);
/** br_key_of_recovery - the same for the 32 bytes of a recovery key */
BR_MUST_CHECK int br_key_of_recovery(const struct br_key *recovery, struct br_key *ret_key, struct br_err *reterr);
/** br_key_way_name - "passphrase", "key file", "recovery key" */
const char *br_key_way_name(enum br_key_way way);
/** br_repo_key_seal - @opener: scrypt of the passphrase, br_key_of_file() or br_key_of_recovery() */
BR_MUST_CHECK int br_repo_key_seal(const struct br_repo_key *key, const uint8_t salt[BR_SALT_BYTES],
                                   const struct br_key *opener, const struct br_key *master, struct br_buf *to,
                                   struct br_err *reterr);
/** br_repo_key_look - what is in clear: how to come by the opener; not proven before br_repo_key_open() */
BR_MUST_CHECK int br_repo_key_look(const char *name, const void *bytes, size_t len, struct br_repo_key *ret_key,
                                   struct br_err *reterr);
/** br_repo_key_open - the master key; -BR_E_KEY @opener is not the right one, or the object is damaged */
BR_MUST_CHECK int br_repo_key_open(const char *name, const void *bytes, size_t len, const struct br_key *opener,
                                   struct br_key *ret_master, struct br_err *reterr);

/** br_key_sum_of - SHA-256 of a key's object as it is stored; -BR_E_INTERNAL when the library fails */
BR_MUST_CHECK int br_key_sum_of(const void *bytes, size_t len, struct br_hash *ret_sum, struct br_err *reterr);
/** br_key_sum_seal, br_key_sum_open - what the object of key @id is; errors as br_object_seal() and br_object_open() */
BR_MUST_CHECK int br_key_sum_seal(const struct br_uuid *id, const struct br_uuid *repository,
                                  const uint8_t salt[BR_SALT_BYTES], const struct br_key *master,
                                  const struct br_hash *sum, struct br_buf *to, struct br_err *reterr);
BR_MUST_CHECK int br_key_sum_open(const char *name, const void *bytes, size_t len, const struct br_key *master,
                                  struct br_hash *ret_sum, struct br_err *reterr);

/** br_epoch_seal, br_epoch_open - an epoch's key under the master key; errors as br_object_seal() and br_object_open() */
BR_MUST_CHECK int br_epoch_seal(uint32_t epoch, const struct br_uuid *repository, const uint8_t salt[BR_SALT_BYTES],
                                const struct br_key *master, const struct br_key *key, uint64_t made_unix_ns,
                                struct br_buf *to, struct br_err *reterr);
BR_MUST_CHECK int br_epoch_open(const char *name, const void *bytes, size_t len, const struct br_key *master,
                                struct br_key *ret_key, uint64_t *ret_made_unix_ns, struct br_err *reterr);

/** br_shredded_seal, br_shredded_open - the note that an epoch's key was given up; errors as br_object_seal() and br_object_open() */
BR_MUST_CHECK int br_shredded_seal(uint32_t epoch, const struct br_uuid *repository, const uint8_t salt[BR_SALT_BYTES],
                                   const struct br_key *master, uint64_t when_unix_ns, struct br_buf *to,
                                   struct br_err *reterr);
BR_MUST_CHECK int br_shredded_open(const char *name, const void *bytes, size_t len, const struct br_key *master,
                                   uint64_t *ret_when_unix_ns, struct br_err *reterr);

// Chunks ------------------------------------------------------------------------------------------------------------------------------

struct br_chunk_id {
    uint8_t bytes[BR_MAC_BYTES];
};

enum br_chunk_kind {
    BR_CHUNK_BLOCK = 1,
    BR_CHUNK_OVERLAY = 2,
    BR_CHUNK_NODE = 3,
};

/** br_domain_mac - what makes the ids of a domain; the caller closes it */
BR_MUST_CHECK int br_domain_mac(const struct br_key *id_secret, const struct br_uuid *domain, struct br_mac **ret_mac,
                                struct br_err *reterr);
/** br_chunk_id_leaf, br_chunk_id_node - the id of a leaf's data, of a node */
BR_MUST_CHECK int br_chunk_id_leaf(struct br_mac *domain, const struct br_hash *leaf, struct br_chunk_id *ret_id,
                                   struct br_err *reterr);
BR_MUST_CHECK int br_chunk_id_node(struct br_mac *domain, const struct br_hash *node, struct br_chunk_id *ret_id,
                                   struct br_err *reterr);

struct br_overlay {
    uint16_t zeros; // pages that became zeros
    uint16_t pages; // pages whose content follows; disjoint
    const uint8_t *data;
    size_t data_bytes;
};
#define BR_OVERLAY_HEAD_BYTES 4u
/** br_overlay_decode - an overlay over a block of @block_bytes; data points into @bytes; -BR_E_CORRUPT */
BR_MUST_CHECK int br_overlay_decode(const void *bytes, size_t len, uint32_t block_bytes, struct br_overlay *ret_overlay,
                                    struct br_err *reterr);
/** br_overlay_apply - over the base's @block_bytes in @block */
void br_overlay_apply(const struct br_overlay *overlay, uint8_t *block, uint32_t block_bytes);

// Packs -------------------------------------------------------------------------------------------------------------------------------

// What is needed to open a pack's frames.
struct br_pack_key {
    struct br_key key;
    uint8_t aad[BR_PACK_FRAMES_AT + BR_OBJECT_NAME_BYTES];
    size_t aad_len;
};
/** br_pack_key_make - @epoch_key: of the object's epoch; @head_bytes: the pack's first BR_PACK_FRAMES_AT bytes are put there */
BR_MUST_CHECK int br_pack_key_make(const struct br_object *pack, const struct br_uuid *writer,
                                   const struct br_key *epoch_key, struct br_pack_key *ret_key,
                                   uint8_t head_bytes[BR_PACK_FRAMES_AT], struct br_err *reterr);
/** br_pack_head - what the first BR_PACK_FRAMES_AT bytes of a pack say; proven only by what opens with them */
BR_MUST_CHECK int br_pack_head(const uint8_t head_bytes[BR_PACK_FRAMES_AT], struct br_object *ret_pack,
                               struct br_uuid *ret_writer, struct br_err *reterr);

enum br_frame_codec {
    BR_FRAME_RAW = 0,
    BR_FRAME_ZSTD = 1,
};

struct br_frame_entry {
    uint32_t sealed_bytes; // without the tag
    uint32_t raw_bytes;
    enum br_frame_codec codec;
    uint32_t chunks;
};

struct br_chunk_entry {
    enum br_chunk_kind kind;
    uint32_t len_bytes;
    struct br_chunk_id id;
    struct br_chunk_id base; // of an overlay
};

struct br_directory {
    struct br_frame_entry *frames;
    uint32_t frame_count;
    struct br_chunk_entry *chunks; // of all frames, in their order
    uint32_t chunk_count;
};

struct br_pack_trailer {
    uint64_t directory_at;
    uint32_t directory_bytes; // without the tag
    uint32_t frames;
};

/** br_directory_add_frame, br_directory_add_chunk - a chunk belongs to the frame that is added after it; -BR_E_NOMEM, -BR_E_LIMIT */
BR_MUST_CHECK int br_directory_add_chunk(struct br_directory *directory, const struct br_chunk_entry *chunk,
                                         struct br_err *reterr);
BR_MUST_CHECK int br_directory_add_frame(struct br_directory *directory, const struct br_frame_entry *frame,
                                         struct br_err *reterr);
/** br_directory_free - empties it */
void br_directory_free(struct br_directory *directory);
/** br_directory_seal - the sealed directory, its tag and the trailer, appended to @to; @at: where in the pack it will lie */
BR_MUST_CHECK int br_directory_seal(const struct br_directory *directory, const struct br_pack_key *key, uint64_t at,
                                    struct br_buf *to, struct br_err *reterr);
/**
 * br_pack_trailer_decode - a pack's last BR_PACK_TRAILER_BYTES
 * @pack_bytes  length of the whole pack
 * Errors: -BR_E_CORRUPT, also where the directory would not lie just before it
 */
BR_MUST_CHECK int br_pack_trailer_decode(const uint8_t trailer[BR_PACK_TRAILER_BYTES], uint64_t pack_bytes,
                                         struct br_pack_trailer *ret_trailer, struct br_err *reterr);
/**
 * br_directory_open - prove and decode
 * @sealed  directory_bytes and the tag; overwritten
 * Errors: -BR_E_CORRUPT; frames, chunks and lengths all agree when it returns 0
 */
BR_MUST_CHECK int br_directory_open(const struct br_pack_trailer *trailer, const struct br_pack_key *key,
                                    uint8_t *sealed, struct br_directory *ret_directory, struct br_err *reterr);

// Points ------------------------------------------------------------------------------------------------------------------------------

enum br_point_type {
    BR_POINT_FULL = 1,         // shares nothing with any other: a domain of its own
    BR_POINT_INCREMENTAL = 2,  // since the point before
    BR_POINT_DIFFERENTIAL = 3, // since the last full
};

#define BR_POINT_TAGS_MAX      16u
#define BR_POINT_TAG_BYTES     64u
#define BR_POINT_TRACKER_BYTES 16u

// A recovery point: one version of a volume, for ever.
struct br_point {
    struct br_uuid id;
    struct br_uuid volume;
    uint64_t counter;        // 1 more than the parent's, for people
    struct br_uuid parent;   // the point that it was compared with; nil none
    struct br_hash previous; // SHA-256 of the volume's point before it, as its writer knew; zeros none
    struct br_hash root;
    uint64_t size_bytes;
    struct br_hash top; // hash of the top node
    uint32_t sector_bytes;
    uint8_t hash_id;
    uint8_t consistency;
    enum br_point_type type;
    struct br_uuid domain;
    uint64_t taken_unix_ns; // when its view began to be read, by the writer's clock
    uint64_t made_unix_ns;  // when it was written, by the writer's clock
    uint64_t unreadable_blocks;
    uint64_t changed_bytes; // data that differed from the parent, or all
    uint64_t stored_bytes;  // that its run added to the repository
    char tracker[BR_POINT_TRACKER_BYTES];
    char host[BR_LABEL_BYTES];
    char label[BR_LABEL_BYTES]; // the source, as it was named
    unsigned tag_count;
    char tags[BR_POINT_TAGS_MAX][BR_POINT_TAG_BYTES];
};
/** br_point_type_name - "full", "incremental", "differential" */
const char *br_point_type_name(enum br_point_type type);
/** br_point_seal - @epoch's key seals it; errors as br_object_seal() */
BR_MUST_CHECK int br_point_seal(const struct br_point *point, const struct br_object *object, const struct br_key *key,
                                struct br_buf *to, struct br_err *reterr);
/** br_point_open - every field is in its range, ids are those of @name, root follows from size and top; else -BR_E_CORRUPT, -BR_E_VERSION */
BR_MUST_CHECK int br_point_open(const char *name, const void *bytes, size_t len, const struct br_key *key,
                                struct br_point *ret_point, struct br_err *reterr);
/** br_point_tree - the version that it names; ref 1 where there is a top node, 0 where there is none */
BR_MUST_CHECK int br_point_tree(const struct br_point *point, struct br_tree *ret_tree, struct br_err *reterr);

// Writers and prunes ------------------------------------------------------------------------------------------------------------------
// What they say to one another, without locks and without clocks: engine/repo/lease.h.

#define BR_LEASE_SEEN_MAX   64u
#define BR_DOOMED_PACKS_MAX 32000u

// A writer at work. It has ended when there is an object at its point's name: the point, or a tombstone.
struct br_lease {
    struct br_uuid run; // every pack of it says so too
    struct br_uuid volume;
    struct br_uuid point; // that will be its commit
    uint64_t begun_unix_ns;
    char host[BR_LABEL_BYTES];
    char label[BR_LABEL_BYTES]; // the source, for people
    unsigned seen_count;
    struct br_uuid seen[BR_LEASE_SEEN_MAX]; // lists of doomed packs that it counts on none of
};
/** br_lease_seal, br_lease_open - errors as br_object_seal() and br_object_open() */
BR_MUST_CHECK int br_lease_seal(const struct br_lease *lease, const struct br_object *object, const struct br_key *key,
                                struct br_buf *to, struct br_err *reterr);
BR_MUST_CHECK int br_lease_open(const char *name, const void *bytes, size_t len, const struct br_key *key,
                                struct br_lease *ret_lease, struct br_err *reterr);

// What is said of a point by the object at another name, or in its place: a hold, a tombstone.
struct br_point_mark {
    struct br_uuid volume;
    struct br_uuid point;
    uint64_t made_unix_ns;
    char host[BR_LABEL_BYTES];
    char why[BR_LABEL_BYTES]; // for people
};
/** br_point_mark_seal, br_point_mark_open - @object's kind, BR_OBJECT_HOLD or BR_OBJECT_TOMBSTONE, says which; volume and point are in the name */
BR_MUST_CHECK int br_point_mark_seal(const struct br_point_mark *mark, const struct br_object *object,
                                     const struct br_key *key, struct br_buf *to, struct br_err *reterr);
BR_MUST_CHECK int br_point_mark_open(const char *name, const void *bytes, size_t len, const struct br_key *key,
                                     struct br_point_mark *ret_mark, struct br_err *reterr);

// Packs that a prune means to delete.
struct br_doomed {
    struct br_uuid id;
    uint64_t made_unix_ns;
    char host[BR_LABEL_BYTES];
    uint8_t (*salts)[BR_SALT_BYTES];
    size_t count; // BR_DOOMED_PACKS_MAX at most
};
/** br_doomed_seal - salts stay the caller's */
BR_MUST_CHECK int br_doomed_seal(const struct br_doomed *doomed, const struct br_object *object,
                                 const struct br_key *key, struct br_buf *to, struct br_err *reterr);
/** br_doomed_open - the caller frees ret_doomed->salts */
BR_MUST_CHECK int br_doomed_open(const char *name, const void *bytes, size_t len, const struct br_key *key,
                                 struct br_doomed *ret_doomed, struct br_err *reterr);

#endif
