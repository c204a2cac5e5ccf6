client.o: dm-helper/client.c dm-helper/client.h dm-helper/request.h \
 engine/base/err.h dm-helper/wire.h engine/base/bytes.h \
 engine/base/units.h
dm-helper/client.h:
dm-helper/request.h:
engine/base/err.h:
dm-helper/wire.h:
engine/base/bytes.h:
engine/base/units.h:
