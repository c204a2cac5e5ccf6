// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "blkrep_version.h"
#include "tools/cli.h"
#include "tools/conf.h"

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

static int main_usage(const char *what, const char *word)
{
    char shown[256];

    br_visible(word, shown, sizeof(shown));
    fprintf(stderr, "blkrep: %s%s\n  blkrep --help lists the verbs\n", what, shown);
    return BR_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    struct br_err err = {0};
    int words;

    if (!main_take_descriptors()) {
        return BR_EXIT_FAILED;
    }
    if (argc < 2) {
        return main_usage("no verb given", "");
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
        help_all();
        return fflush(stdout) ? BR_EXIT_FAILED : BR_EXIT_OK;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("blkrep %s\n", BR_VERSION);
        return fflush(stdout) ? BR_EXIT_FAILED : BR_EXIT_OK;
    }
    const struct cli_verb *verb = cli_find(argc, argv, &words);
    if (!verb) {
        return main_usage("no such verb: ", argv[1]);
    }
    int result = cli_parse(&cli, verb, argc - 1 - words, argv + 1 + words, &err);
    if (!result && cli_flag(&cli, "help")) {
        help_verb(verb);
        json_decref(cli.report);
        return fflush(stdout) ? BR_EXIT_FAILED : BR_EXIT_OK;
    }
    if (!result) {
        cli_catch_signals();
        result = verb->run(&cli, &err);
    }
    int status = cli_end(&cli, result, &err);
    conf_free(cli.conf);
    return status;
}
