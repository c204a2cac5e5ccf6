record.o: tools/volume/record.c tools/volume/record.h engine/base/err.h \
 engine/base/uuid.h engine/codec/delta.h engine/map/tree.h \
 engine/base/bytes.h
tools/volume/record.h:
engine/base/err.h:
engine/base/uuid.h:
engine/codec/delta.h:
engine/map/tree.h:
engine/base/bytes.h:
