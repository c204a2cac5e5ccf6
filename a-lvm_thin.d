lvm_thin.o: tools/volume/lvm_thin.c engine/track/thin_delta.h \
 engine/map/extent_map.h engine/base/bytes.h engine/base/err.h \
 tools/audit.h tools/cli.h engine/base/units.h tools/volume/lvm.h \
 tools/volume/stack.h tools/volume/volume.h dm-helper/client.h \
 dm-helper/request.h tools/place.h engine/guard/guard.h \
 engine/net/address.h engine/ring/ring.h engine/base/uuid.h \
 tools/volume/record.h tools/volume/tend.h
engine/track/thin_delta.h:
engine/map/extent_map.h:
engine/base/bytes.h:
engine/base/err.h:
tools/audit.h:
tools/cli.h:
engine/base/units.h:
tools/volume/lvm.h:
tools/volume/stack.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
tools/place.h:
engine/guard/guard.h:
engine/net/address.h:
engine/ring/ring.h:
engine/base/uuid.h:
tools/volume/record.h:
tools/volume/tend.h:
