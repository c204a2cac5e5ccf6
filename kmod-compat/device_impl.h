// SPDX-License-Identifier: Apache-2.0
//
// What the files of the device list share: device.c finds the devices in /sys, device_names.c adds what udev knows and the stable names,
// device_use.c adds mounts and swap.
#ifndef KMC_DEVICE_IMPL_H
#define KMC_DEVICE_IMPL_H

#include "kmod-compat/device.h"

/** kmc_device_names - serial, WWID, content and label from udev's database, and the stable name of every device */
void kmc_device_names(const struct kmc_source *source, struct kmc_devices *devices);
/** kmc_device_use - mounts and swap; false when memory is short */
KMC_MUST_CHECK bool kmc_device_use(const struct kmc_source *source, struct kmc_devices *devices);
/** kmc_device_by_path - the device that a path of /dev means by its name alone: /dev/vda1, /dev/dm-0, /dev/mapper/NAME */
size_t kmc_device_by_path(const struct kmc_devices *devices, const char *path);

#endif
