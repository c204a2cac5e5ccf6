// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "blkrep_version.h"
#include "tools/cli.h"
#include "tools/conf.h"
#include "tools/out.h"

// Of descriptors 0, 1 and 2 one that is closed would be the next file that is opened, and messages would go into a replica. Each is taken
// by a /dev/null that fails as it would have: 0 can't be read, 1 and 2 can't be written.
static bool main_take_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd) {
            return false;
        }
    }
    return true;
}

// The verbs of two words that begin with @word, "token create" and "token list" for token; @text stays empty when there are none.
static void main_list_verbs(const char *word, char *text, size_t text_size)
{
    size_t len = strlen(word);
    size_t used = 0;

    text[0] = 0;
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (len && !strncmp(cli_verbs[i]->name, word, len) && cli_verbs[i]->name[len] == ' ') {
            int more =
                snprintf(text + used, text_size - used, "%s blkrep %s", used ? "," : "  there are", cli_verbs[i]->name);
            used = BR_MIN(used + (size_t)more, text_size - 1);
        }
    }
}

static int main_usage(const char *what, const char *word)
{
    char shown[256];
    char verbs[512];
    char text[sizeof(shown) + sizeof(verbs) + 128];

    br_visible(word, shown, sizeof(shown));
    main_list_verbs(word, verbs, sizeof(verbs));
    int len = snprintf(text, sizeof(text), "blkrep: %s%s\n%s\n", what, shown,
                       *verbs ? verbs : "  blkrep --help lists the verbs");
    out_stderr(text, BR_MIN((size_t)len, sizeof(text) - 1));
    return BR_EXIT_USAGE;
}

// blkrep --help, blkrep help [VERB], blkrep --version. Returns the exit status, -1 when it is something else.
static int main_asked(int argc, char **argv)
{
    int words;

    if (!strcmp(argv[1], "--version")) {
        printf("blkrep %s\n", BR_VERSION);
        return cli_flush(BR_EXIT_OK);
    }
    if (strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "help") != 0) {
        return -1;
    }
    const struct cli_verb *verb = cli_find(argc - 1, argv + 1, &words);
    if (argc > 2 && !verb) {
        return main_usage("no such verb: ", argv[2]);
    }
    if (verb) {
        help_verb(verb);
    } else {
        help_all();
    }
    return cli_flush(BR_EXIT_OK);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    struct br_err err = {0};
    int words;

    cli_catch_signals(); // first: what ends by a signal ends by the table of exit statuses
    if (!main_take_descriptors()) {
        return BR_EXIT_FAILED;
    }
    if (argc < 2) {
        return main_usage("no verb given", "");
    }
    int status = main_asked(argc, argv);
    if (status >= 0) {
        return status;
    }
    const struct cli_verb *verb = cli_find(argc, argv, &words);
    if (!verb) {
        return main_usage("no such verb: ", argv[1]);
    }
    int result = cli_parse(&cli, verb, argc - 1 - words, argv + 1 + words, &err);
    if (!result && cli_flag(&cli, "help")) {
        help_verb(verb);
        json_decref(cli.report);
        return cli_flush(BR_EXIT_OK);
    }
    if (!result) {
        result = verb->run(&cli, &err);
    }
    status = cli_end(&cli, result, &err);
    conf_free(cli.conf);
    return status;
}
