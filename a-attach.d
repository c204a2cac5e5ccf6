attach.o: tools/volume/attach.c tools/volume/attach.h \
 tools/volume/volume.h dm-helper/client.h dm-helper/request.h \
 engine/base/err.h tools/cli.h engine/base/bytes.h engine/base/units.h \
 tools/place.h engine/guard/guard.h engine/net/address.h \
 engine/ring/ring.h engine/base/uuid.h tools/volume/record.h \
 engine/codec/era_format.h engine/codec/pdata.h engine/sync/source.h \
 engine/codec/identity.h engine/codec/delta.h engine/map/tree.h \
 kmod-compat/advice.h kmod-compat/device.h kmod-compat/facts.h \
 kmod-compat/source.h kmod-compat/matrix.h tools/audit.h \
 tools/volume/continuity.h tools/volume/early.h tools/volume/find.h \
 tools/volume/lvm.h engine/map/extent_map.h tools/volume/stack.h \
 tools/volume/tend.h tools/volume/pass.h
tools/volume/attach.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
engine/base/err.h:
tools/cli.h:
engine/base/bytes.h:
engine/base/units.h:
tools/place.h:
engine/guard/guard.h:
engine/net/address.h:
engine/ring/ring.h:
engine/base/uuid.h:
tools/volume/record.h:
engine/codec/era_format.h:
engine/codec/pdata.h:
engine/sync/source.h:
engine/codec/identity.h:
engine/codec/delta.h:
engine/map/tree.h:
kmod-compat/advice.h:
kmod-compat/device.h:
kmod-compat/facts.h:
kmod-compat/source.h:
kmod-compat/matrix.h:
tools/audit.h:
tools/volume/continuity.h:
tools/volume/early.h:
tools/volume/find.h:
tools/volume/lvm.h:
engine/map/extent_map.h:
tools/volume/stack.h:
tools/volume/tend.h:
tools/volume/pass.h:
