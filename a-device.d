device.o: dm-helper/device.c dm-helper/device.h dm-helper/dm.h \
 dm-helper/request.h engine/base/err.h dm-helper/registry.h \
 dm-helper/volume.h engine/base/bytes.h dm-helper/target.h
dm-helper/device.h:
dm-helper/dm.h:
dm-helper/request.h:
engine/base/err.h:
dm-helper/registry.h:
dm-helper/volume.h:
engine/base/bytes.h:
dm-helper/target.h:
