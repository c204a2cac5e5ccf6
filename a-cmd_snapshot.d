cmd_snapshot.o: tools/cmd_snapshot.c engine/base/units.h \
 engine/codec/identity.h engine/codec/delta.h engine/base/uuid.h \
 engine/map/tree.h engine/base/bytes.h engine/base/err.h \
 engine/net/registry.h engine/net/address.h engine/net/keys.h \
 tools/audit.h tools/cli.h tools/volume/lvm.h engine/map/extent_map.h \
 tools/volume/stack.h tools/volume/volume.h dm-helper/client.h \
 dm-helper/request.h tools/place.h engine/guard/guard.h \
 engine/ring/ring.h tools/volume/record.h tools/volume/tend.h
engine/base/units.h:
engine/codec/identity.h:
engine/codec/delta.h:
engine/base/uuid.h:
engine/map/tree.h:
engine/base/bytes.h:
engine/base/err.h:
engine/net/registry.h:
engine/net/address.h:
engine/net/keys.h:
tools/audit.h:
tools/cli.h:
tools/volume/lvm.h:
engine/map/extent_map.h:
tools/volume/stack.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
tools/place.h:
engine/guard/guard.h:
engine/ring/ring.h:
tools/volume/record.h:
tools/volume/tend.h:
