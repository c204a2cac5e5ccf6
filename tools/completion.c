// SPDX-License-Identifier: Apache-2.0
//
// The bash completion, from the verb tables. What is fixed stands below as text; the lists between are made. bash splits words at "=",
// so `--role=re` arrives as three words, or as one where a user took "=" out of COMP_WORDBREAKS: both are understood.
#include "tools/completion.h"

#include <stdio.h>

#include "tools/cli.h"

static const char completion_head[] =
    "# bash completion of blkrep; made by `blkrep manual bash-completion`\n"
    "# shellcheck shell=bash\n"
    "_blkrep() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    local verb=${COMP_WORDS[1]:-} option='' prefix='' words='' takes='' files='' first=2 i\n"
    "    COMPREPLY=()\n";

static const char completion_tail[] =
    "    for ((i = first; i < COMP_CWORD; i++)); do\n"
    "        [[ ${COMP_WORDS[i]} != -- ]] || { words='' option='' files=1 cur=${COMP_WORDS[COMP_CWORD]}; }\n"
    "    done\n"
    "    if [[ -n $option ]]; then\n"
    "        case \" $takes \" in\n"
    "        *\" $option:file \"*) words='' files=1 ;;\n"
    "        *\" $option:\"*) words=${takes#*\"$option:\"} && words=${words%% *} && words=${words//|/ } ;;\n"
    "        *) words='' ;;\n"
    "        esac\n"
    "    elif [[ $cur != -* && $COMP_CWORD -ge $first ]]; then\n"
    "        words='' files=1\n"
    "    fi\n"
    "    [[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -P \"$prefix\" -W \"$words\" -- \"$cur\")\n"
    "    if [[ -n $files ]]; then\n"
    "        compopt -o filenames 2>/dev/null || true\n"
    "        mapfile -t COMPREPLY < <(compgen -P \"$prefix\" -f -- \"$cur\")\n"
    "    elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then\n"
    "        compopt -o nospace 2>/dev/null || true\n"
    "    fi\n"
    "    return 0\n"
    "}\n"
    "complete -F _blkrep blkrep\n";

// The option whose value is being typed: "--x = va", "--x va" (only when --x takes one) or "--x=va".
static const char completion_option[] = "    if [[ $cur == = ]]; then\n"
                                        "        option=$prev cur=''\n"
                                        "    elif [[ $prev == = && $COMP_CWORD -ge 3 ]]; then\n"
                                        "        option=${COMP_WORDS[COMP_CWORD - 2]}\n"
                                        "    elif [[ $cur == --*=* ]]; then\n"
                                        "        option=${cur%%=*} prefix=${cur%%=*}= cur=${cur#*=}\n"
                                        "    elif [[ \" $takes\" == *\" $prev:\"* ]]; then\n"
                                        "        option=$prev\n"
                                        "    fi\n";

static void completion_words(const struct cli_option *options)
{
    for (; options && options->name; options++) {
        printf(" --%s%s", options->name, options->kind == CLI_FLAG ? "" : "=");
    }
}

// " --role:reader|writer --state:file --expires:": what may follow each option that takes a value.
static void completion_values(const struct cli_option *options)
{
    for (; options && options->name; options++) {
        if (options->kind != CLI_FLAG) {
            printf("--%s:%s ", options->name,
                   options->kind == CLI_CHOICE ? options->value
                   : options->kind == CLI_PATH ? "file"
                                               : "");
        }
    }
}

// First words of all verbs, each once.
static void completion_first_words(void)
{
    for (size_t i = 0; cli_verbs[i]; i++) {
        size_t len = strcspn(cli_verbs[i]->name, " ");
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            seen = strcspn(cli_verbs[j]->name, " ") == len && !strncmp(cli_verbs[j]->name, cli_verbs[i]->name, len);
        }
        if (!seen) {
            printf(" %.*s", (int)len, cli_verbs[i]->name);
        }
    }
}

void completion_bash(void)
{
    printf("%s    case $verb in\n", completion_head);
    for (size_t i = 0; cli_verbs[i]; i++) {
        const char *space = strchr(cli_verbs[i]->name, ' ');
        if (space) {
            printf("    %.*s) words+=' %s' first=3 ;;&\n", (int)(space - cli_verbs[i]->name), cli_verbs[i]->name,
                   space + 1);
        }
    }
    printf("    *) ;;\n    esac\n"
           "    if [[ $first -eq 3 && $COMP_CWORD -ge 3 ]]; then\n        verb+=\" ${COMP_WORDS[2]}\"\n    fi\n"
           "    case $COMP_CWORD:$verb in\n    1:*) words='--help --version");
    completion_first_words();
    printf("' first=2 ;;\n");
    for (size_t i = 0; cli_verbs[i]; i++) {
        printf("    *:\"%s\")\n        words='", cli_verbs[i]->name);
        completion_words(cli_verbs[i]->options);
        completion_words(cli_common_options);
        printf("'\n        takes=' ");
        completion_values(cli_verbs[i]->options);
        completion_values(cli_common_options);
        printf("'\n        ;;\n");
    }
    printf("    esac\n%s%s", completion_option, completion_tail);
}
