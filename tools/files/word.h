// SPDX-License-Identifier: Apache-2.0
//
// REPO@POINT:PATH. A time has colons, and a folder may: PATH begins at the first ":/" behind an @.
#ifndef BR_TOOLS_FILES_WORD_H
#define BR_TOOLS_FILES_WORD_H

#include <limits.h>

#include "engine/base/err.h"

/** files_word - splits it into REPO@POINT and PATH, "/" when there is none; -BR_E_USAGE too long */
BR_MUST_CHECK int files_word(const char *word, char left[PATH_MAX], char path[PATH_MAX], struct br_err *reterr);

#endif
