#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dracut, whenever udev has settled: build what is not there yet. Sourced: it must not exit.
[ ! -x /usr/libexec/blkrep/blkrep-early ] || /usr/libexec/blkrep/blkrep-early || :
