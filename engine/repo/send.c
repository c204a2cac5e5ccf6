// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/send.h"

#include "engine/sync/stream_out.h"

int br_point_send(const struct br_point_send_params *params, struct br_delta_end *ret_end, uint64_t *ret_stream_bytes,
                  struct br_err *reterr)
{
    struct br_stream_out *out = calloc(1, sizeof(*out));
    struct br_delta_header header;
    struct br_point_delta_params delta = {
        .repo = params->repo,
        .point = params->point,
        .since = params->since,
        .cancel = params->cancel,
        .progress = params->progress,
        .progress_ctx = params->progress_ctx,
    };

    if (!out) {
        return br_err_set(reterr, BR_E_NOMEM, "a stream");
    }
    *out = (struct br_stream_out){
        .ring = br_repo_ring_of(params->repo),
        .level = params->level,
        .write = params->write,
        .write_ctx = params->write_ctx,
    };
    delta.sink = br_stream_out_sink(out);
    br_point_delta_header(params->repo, params->point, params->since, &header);
    int rc = br_tree_geometry_of(header.size_bytes, &out->geometry)
                 ? br_stream_out_start(out, &header, reterr)
                 : br_err_set(reterr, BR_E_LIMIT, "a volume larger than any version can be");
    rc = rc < 0 ? rc : br_point_delta(&delta, ret_end, NULL, reterr);
    int drained = br_stream_out_drain(out, rc < 0, rc < 0 ? NULL : reterr);
    rc = rc < 0 ? rc : drained;
    rc = rc < 0 ? rc : br_stream_out_end(out, &params->point->root, reterr);
    *ret_stream_bytes = out->encoder.bytes;
    br_stream_out_free(out);
    free(out);
    return rc;
}
