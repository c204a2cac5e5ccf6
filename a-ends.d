ends.o: tools/ends.c tools/ends.h engine/replica/replica.h \
 engine/codec/identity.h engine/codec/delta.h engine/base/uuid.h \
 engine/map/tree.h engine/base/bytes.h engine/base/err.h \
 engine/ring/ring.h engine/sync/endpoint.h tools/place.h \
 engine/guard/guard.h engine/net/address.h tools/cli.h \
 engine/base/units.h engine/net/registry.h engine/net/keys.h \
 engine/sync/local.h engine/sync/source.h tools/remote.h \
 tools/volume/view.h engine/track/tracker.h engine/map/extent_map.h \
 tools/volume/volume.h dm-helper/client.h dm-helper/request.h \
 tools/volume/record.h
tools/ends.h:
engine/replica/replica.h:
engine/codec/identity.h:
engine/codec/delta.h:
engine/base/uuid.h:
engine/map/tree.h:
engine/base/bytes.h:
engine/base/err.h:
engine/ring/ring.h:
engine/sync/endpoint.h:
tools/place.h:
engine/guard/guard.h:
engine/net/address.h:
tools/cli.h:
engine/base/units.h:
engine/net/registry.h:
engine/net/keys.h:
engine/sync/local.h:
engine/sync/source.h:
tools/remote.h:
tools/volume/view.h:
engine/track/tracker.h:
engine/map/extent_map.h:
tools/volume/volume.h:
dm-helper/client.h:
dm-helper/request.h:
tools/volume/record.h:
