on_thin.o: dm-helper/on_thin.c dm-helper/device.h dm-helper/dm.h \
 dm-helper/request.h engine/base/err.h dm-helper/registry.h \
 dm-helper/volume.h engine/base/bytes.h dm-helper/lvm_runner.h \
 dm-helper/process.h dm-helper/server.h dm-helper/target.h
dm-helper/device.h:
dm-helper/dm.h:
dm-helper/request.h:
engine/base/err.h:
dm-helper/registry.h:
dm-helper/volume.h:
engine/base/bytes.h:
dm-helper/lvm_runner.h:
dm-helper/process.h:
dm-helper/server.h:
dm-helper/target.h:
