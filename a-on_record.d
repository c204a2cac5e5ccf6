on_record.o: dm-helper/on_record.c dm-helper/device.h dm-helper/dm.h \
 dm-helper/request.h engine/base/err.h dm-helper/registry.h \
 dm-helper/volume.h engine/base/bytes.h dm-helper/server.h
dm-helper/device.h:
dm-helper/dm.h:
dm-helper/request.h:
engine/base/err.h:
dm-helper/registry.h:
dm-helper/volume.h:
engine/base/bytes.h:
dm-helper/server.h:
