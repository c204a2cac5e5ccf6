lvm_runner.o: dm-helper/lvm_runner.c dm-helper/lvm_runner.h \
 dm-helper/request.h engine/base/err.h dm-helper/process.h \
 dm-helper/volume.h engine/base/bytes.h engine/base/units.h
dm-helper/lvm_runner.h:
dm-helper/request.h:
engine/base/err.h:
dm-helper/process.h:
dm-helper/volume.h:
engine/base/bytes.h:
engine/base/units.h:
