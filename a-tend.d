tend.o: tools/volume/tend.c tools/volume/tend.h tools/volume/volume.h \
 dm-helper/client.h dm-helper/request.h engine/base/err.h tools/cli.h \
 engine/base/bytes.h engine/base/units.h tools/place.h \
 engine/guard/guard.h engine/net/address.h engine/ring/ring.h \
 engine/base/uuid.h tools/volume/record.h tools/audit.h \
 tools/volume/lvm.h engine/map/extent_map.h tools/volume/stack.h
tools/volume/tend.h:
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
tools/audit.h:
tools/volume/lvm.h:
engine/map/extent_map.h:
tools/volume/stack.h:
