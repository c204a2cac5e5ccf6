stack.o: tools/volume/stack.c tools/volume/stack.h tools/volume/volume.h \
 dm-helper/client.h dm-helper/request.h engine/base/err.h tools/cli.h \
 engine/base/bytes.h engine/base/units.h tools/place.h \
 engine/guard/guard.h engine/net/address.h engine/ring/ring.h \
 engine/base/uuid.h tools/volume/record.h engine/codec/delta.h \
 engine/map/tree.h engine/track/cow_store.h engine/codec/cow_format.h \
 engine/map/extent_map.h tools/volume/hook.h tools/volume/lvm.h \
 tools/volume/tend.h
tools/volume/stack.h:
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
engine/codec/delta.h:
engine/map/tree.h:
engine/track/cow_store.h:
engine/codec/cow_format.h:
engine/map/extent_map.h:
tools/volume/hook.h:
tools/volume/lvm.h:
tools/volume/tend.h:
