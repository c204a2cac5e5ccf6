volume.o: dm-helper/volume.c dm-helper/volume.h dm-helper/request.h \
 engine/base/bytes.h engine/base/err.h engine/base/units.h \
 engine/base/uuid.h
dm-helper/volume.h:
dm-helper/request.h:
engine/base/bytes.h:
engine/base/err.h:
engine/base/units.h:
engine/base/uuid.h:
