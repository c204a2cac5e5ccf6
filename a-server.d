server.o: dm-helper/server.c dm-helper/server.h dm-helper/registry.h \
 dm-helper/volume.h dm-helper/request.h engine/base/bytes.h \
 engine/base/err.h dm-helper/dm.h dm-helper/wire.h
dm-helper/server.h:
dm-helper/registry.h:
dm-helper/volume.h:
dm-helper/request.h:
engine/base/bytes.h:
engine/base/err.h:
dm-helper/dm.h:
dm-helper/wire.h:
