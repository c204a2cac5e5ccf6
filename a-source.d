source.o: engine/sync/source.c engine/sync/source.h \
 engine/codec/identity.h engine/codec/delta.h engine/base/uuid.h \
 engine/map/tree.h engine/base/bytes.h engine/base/err.h \
 engine/ring/ring.h engine/replica/identity_slots.h \
 engine/track/tree_file.h
engine/sync/source.h:
engine/codec/identity.h:
engine/codec/delta.h:
engine/base/uuid.h:
engine/map/tree.h:
engine/base/bytes.h:
engine/base/err.h:
engine/ring/ring.h:
engine/replica/identity_slots.h:
engine/track/tree_file.h:
