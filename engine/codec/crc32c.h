// SPDX-License-Identifier: Apache-2.0
//
// CRC-32C (Castagnoli): RFC 3720, appendix B.4; reflected polynomial 0x82f63b78. The checksum of device-mapper's metadata blocks.
#ifndef BR_CODEC_CRC32C_H
#define BR_CODEC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/**
 * br_crc32c - the register after @len more bytes
 * @crc  the register before: UINT32_MAX to begin; the CRC of RFC 3720 is the complement of the last result, as in iSCSI
 */
uint32_t br_crc32c(uint32_t crc, const void *bytes, size_t len);

#endif
