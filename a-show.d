show.o: tools/volume/show.c tools/volume/show.h tools/cli.h \
 engine/base/bytes.h engine/base/err.h engine/base/units.h \
 tools/volume/pass.h tools/volume/record.h engine/base/uuid.h \
 tools/volume/volume.h dm-helper/client.h dm-helper/request.h \
 tools/place.h engine/guard/guard.h engine/net/address.h \
 engine/ring/ring.h
tools/volume/show.h:
tools/cli.h:
engine/base/bytes.h:
engine/base/err.h:
engine/base/units.h:
tools/volume/pass.h:
tools/volume/record.h:
engine/base/uuid.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
tools/place.h:
engine/guard/guard.h:
engine/net/address.h:
engine/ring/ring.h:
