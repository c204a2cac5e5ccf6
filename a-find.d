find.o: tools/volume/find.c tools/volume/find.h engine/guard/guard.h \
 engine/base/bytes.h engine/base/err.h tools/volume/volume.h \
 dm-helper/client.h dm-helper/request.h tools/cli.h engine/base/units.h \
 tools/place.h engine/net/address.h engine/ring/ring.h engine/base/uuid.h \
 tools/volume/record.h kmod-compat/device.h kmod-compat/facts.h \
 kmod-compat/source.h
tools/volume/find.h:
engine/guard/guard.h:
engine/base/bytes.h:
engine/base/err.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
tools/cli.h:
engine/base/units.h:
tools/place.h:
engine/net/address.h:
engine/ring/ring.h:
engine/base/uuid.h:
tools/volume/record.h:
kmod-compat/device.h:
kmod-compat/facts.h:
kmod-compat/source.h:
