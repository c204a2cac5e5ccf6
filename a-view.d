view.o: tools/volume/view.c tools/volume/view.h engine/codec/delta.h \
 engine/base/uuid.h engine/map/tree.h engine/base/bytes.h \
 engine/base/err.h engine/track/tracker.h engine/map/extent_map.h \
 tools/volume/volume.h dm-helper/client.h dm-helper/request.h tools/cli.h \
 engine/base/units.h tools/place.h engine/guard/guard.h \
 engine/net/address.h engine/ring/ring.h tools/volume/record.h \
 engine/track/cow_store.h engine/codec/cow_format.h \
 engine/track/era_meta.h engine/codec/era_format.h engine/codec/pdata.h \
 tools/volume/continuity.h tools/volume/lvm.h tools/volume/stack.h \
 tools/volume/tend.h
tools/volume/view.h:
engine/codec/delta.h:
engine/base/uuid.h:
engine/map/tree.h:
engine/base/bytes.h:
engine/base/err.h:
engine/track/tracker.h:
engine/map/extent_map.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
tools/cli.h:
engine/base/units.h:
tools/place.h:
engine/guard/guard.h:
engine/net/address.h:
engine/ring/ring.h:
tools/volume/record.h:
engine/track/cow_store.h:
engine/codec/cow_format.h:
engine/track/era_meta.h:
engine/codec/era_format.h:
engine/codec/pdata.h:
tools/volume/continuity.h:
tools/volume/lvm.h:
tools/volume/stack.h:
tools/volume/tend.h:
