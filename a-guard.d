guard.o: engine/guard/guard.c engine/guard/guard.h engine/base/bytes.h \
 engine/base/err.h engine/base/units.h
engine/guard/guard.h:
engine/base/bytes.h:
engine/base/err.h:
engine/base/units.h:
