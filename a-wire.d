wire.o: dm-helper/wire.c dm-helper/wire.h dm-helper/request.h \
 engine/base/bytes.h engine/base/err.h
dm-helper/wire.h:
dm-helper/request.h:
engine/base/bytes.h:
engine/base/err.h:
