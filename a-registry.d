registry.o: dm-helper/registry.c dm-helper/registry.h dm-helper/volume.h \
 dm-helper/request.h engine/base/bytes.h engine/base/err.h \
 dm-helper/process.h engine/base/ini.h
dm-helper/registry.h:
dm-helper/volume.h:
dm-helper/request.h:
engine/base/bytes.h:
engine/base/err.h:
dm-helper/process.h:
engine/base/ini.h:
