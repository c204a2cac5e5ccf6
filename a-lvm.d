lvm.o: tools/volume/lvm.c tools/volume/lvm.h engine/map/extent_map.h \
 engine/base/bytes.h engine/base/err.h tools/volume/stack.h \
 tools/volume/volume.h dm-helper/client.h dm-helper/request.h tools/cli.h \
 engine/base/units.h tools/place.h engine/guard/guard.h \
 engine/net/address.h engine/ring/ring.h engine/base/uuid.h \
 tools/volume/record.h tools/volume/tend.h dm-helper/lvm_runner.h \
 engine/codec/delta.h engine/map/tree.h tools/volume/hook.h
tools/volume/lvm.h:
engine/map/extent_map.h:
engine/base/bytes.h:
engine/base/err.h:
tools/volume/stack.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
tools/cli.h:
engine/base/units.h:
tools/place.h:
engine/guard/guard.h:
engine/net/address.h:
engine/ring/ring.h:
engine/base/uuid.h:
tools/volume/record.h:
tools/volume/tend.h:
dm-helper/lvm_runner.h:
engine/codec/delta.h:
engine/map/tree.h:
tools/volume/hook.h:
