cmd_attach.o: tools/cmd_attach.c tools/audit.h tools/cli.h \
 engine/base/bytes.h engine/base/err.h engine/base/units.h \
 tools/volume/attach.h tools/volume/volume.h dm-helper/client.h \
 dm-helper/request.h tools/place.h engine/guard/guard.h \
 engine/net/address.h engine/ring/ring.h engine/base/uuid.h \
 tools/volume/record.h tools/volume/continuity.h
tools/audit.h:
tools/cli.h:
engine/base/bytes.h:
engine/base/err.h:
engine/base/units.h:
tools/volume/attach.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
tools/place.h:
engine/guard/guard.h:
engine/net/address.h:
engine/ring/ring.h:
engine/base/uuid.h:
tools/volume/record.h:
tools/volume/continuity.h:
