// SPDX-License-Identifier: Apache-2.0
#ifndef BR_TOOLS_COMPLETION_H
#define BR_TOOLS_COMPLETION_H

/** completion_bash - print the bash completion: verbs, words of two-word verbs, options, values of options, files */
void completion_bash(void);

#endif
