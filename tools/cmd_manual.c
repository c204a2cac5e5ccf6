// SPDX-License-Identifier: Apache-2.0
//
// blkrep manual: prints the manual pages and the bash completion, made from the tables that the program itself runs on: verbs and options
// (tools/cli.h), configuration keys (tools/conf.h), errors (engine/base/err.h). `make man` writes them to build/man. blkrep-stream(5) is
// written by hand in tools/man, since its source is a format and not a table.
#include <assert.h>
#include <stdio.h>

#include "tools/cli.h"
#include "tools/completion.h"
#include "tools/conf.h"
#include "tools/man_page.h"
#include "tools/progress.h"

static const struct cli_example manual_examples[] = {
    {"blkrep manual", "List the pages."},
    {"blkrep manual blkrep.1 | man -l -", "Read one that is not installed."},
    {NULL, NULL},
};

static void manual_name_of(const struct cli_verb *verb, char *name, size_t name_size)
{
    snprintf(name, name_size, "blkrep-%s", verb->name);
    for (char *at = name; *at; at++) {
        if (*at == ' ') {
            *at = '-';
        }
    }
}

static void manual_json(const struct cli_verb *verb)
{
    char title[64];

    man_section("JSON");
    printf("With \\-\\-json the exit object's schema is \\fB%s\\fR.\n", verb->schema);
    if (verb->fields) {
        printf("Its fields, besides those of every exit object, which \\fBblkrep\\fR(1) lists:\n");
        man_fields(verb->fields);
    } else {
        printf("It has the fields of every exit object, which \\fBblkrep\\fR(1) lists, and no others.\n");
    }
    for (const struct cli_line *line = verb->lines; line && line->type; line++) {
        snprintf(title, sizeof(title), "Lines of type \"%s\"", line->type);
        man_subsection(title);
        man_text(line->text);
        man_fields(line->fields);
    }
}

static void manual_verb(const struct cli_verb *verb)
{
    char name[64];

    manual_name_of(verb, name, sizeof(name));
    man_head(name, "1", verb->summary);
    man_section("SYNOPSIS");
    printf("\\fBblkrep %s\\fR [options]%s", verb->name, *verb->args ? " " : "");
    man_arguments(verb->args);
    man_section("DESCRIPTION");
    man_text(verb->description);
    man_section("OPTIONS");
    man_options(verb->options);
    man_subsection("Options of every verb");
    man_options(cli_common_options);
    if (verb->examples) {
        man_section("EXAMPLES");
        for (const struct cli_example *example = verb->examples; example->command; example++) {
            man_item(example->command, "", example->text);
        }
    }
    if (verb->manual) {
        verb->manual();
    }
    manual_json(verb);
    man_section("EXIT STATUS");
    man_text("0 when it is done. `blkrep-errors`(7) says what every other status means, and what to do.");
    man_see_also("\\fBblkrep\\fR(1)", verb->see_also);
}

static void manual_overview_json(void)
{
    man_section("JSON");
    man_text(
        "With --json stdout holds JSON objects, one a line, the last of which is the exit object. Fields are only ever added: a program "
        "ignores those that it does not know. Numbers are plain, in the unit that the field's name ends in. A name from outside that is "
        "not UTF-8, or that begins with a quotation mark, is given quoted: in quotation marks, with a backslash before a backslash or "
        "quotation mark, and \\n and \\xNN for bytes that are no characters. So a text that begins with a quotation mark is a quoted "
        "one, and names every byte.\n\n"
        "Fields of every exit object:");
    man_fields(cli_common_fields);
    man_subsection("Lines of type \"progress\"");
    man_text("Printed by verbs that take long, and written by --progress. The fields:");
    man_fields(progress_fields);
}

static void manual_overview_files(void)
{
    static const struct {
        const char *name;
        const char *text;
    } files[] = {
        {"/etc/blkrep/blkrep.conf", "The configuration, see `blkrep.conf`(5). It may be missing."},
        {"NAME.blkrep/",
         "State of the file NAME, as a source, a replica or both, beside it. It belongs to the file and moves with it; losing it costs a "
         "full compare. For a file in a folder that can't be written to it is STATE/files/HASH/, for a block device "
         "STATE/devices/WWID/. It is used only when nobody can write it who may not write NAME; the state folder, when it is ours alone."},
        {"NAME.blkrep/identity",
         "What the bytes of a replica are: which version of which volume, complete, incomplete or between two versions. Two slots, of "
         "which the newer good one counts. `blkrep dump` prints it."},
        {"NAME.blkrep/tree.N", "The hashes of a replica's versions."},
        {"NAME.blkrep/stage", "A delta that is on its way into the replica, see `blkrep-stream`(5)."},
        {"NAME.blkrep/stage.cut",
         "What runs that were cut had brought of a delta, for the next one. It goes with the next version, and costs only shipping when "
         "it is removed or damaged. NAME.blkrep/cut.1, while a run uses it, is an index of it."},
        {"NAME.blkrep/lock", "Held while a run writes to the replica."},
        {"NAME.blkrep/volume", "A source's uuid, made by its first run, never changed."},
        {"NAME.blkrep/to-UUID.*",
         "What a source knows of the replica UUID: the version that it was last brought to, and its hashes. A copy of what the replica "
         "has; when it is lost it is fetched again."},
        {"NAME.blkrep-restore",
         "A file that is being restored, until it is whole; what a restore that was cut left may be removed."},
        {"STATE/repositories/UUID/",
         "What this host remembers of a repository: that it was encrypted, the dedup domain of its volumes, and an index, "
         "which is made anew from the repository when it is lost."},
        {"NAME.blkrep-new", "A whole new content on its way to replace a file, after --force-full."},
        {"STATE/audit.ndjson",
         "One line for every act that changed state or trust, each with the SHA-256 of the line before it. `blkrep status --audit` "
         "checks that none was changed, removed or slipped in."},
        {"STATE/known/", "What this host has synced where, for `blkrep status`; losing it costs the overview only."},
        {"STATE/identity.key", "This host's key. Who has it is this host."},
        {"STATE/clients", "On a server: the clients that it lets in, and open tokens."},
        {"STATE/servers", "On a client: the servers that it is paired with."},
    };

    man_section("FILES");
    man_text("STATE is the state folder, see ENVIRONMENT.");
    for (size_t i = 0; i < BR_ARRAY_LEN(files); i++) {
        man_item(files[i].name, "", files[i].text);
    }
}

// The way from nothing to a replica on another host; tests/cli/manual-examples.sh goes it.
static void manual_overview_start(void)
{
    man_section("A FIRST REPLICA");
    man_text(
        "A replica is a plain file or device that holds one version of the source. The first run copies, the same command again ships "
        "what changed; then all that is there is shown, and proven.");
    man_example("blkrep sync /srv/disk.img /backup/disk.img\n"
                "blkrep status\n"
                "blkrep verify /backup/disk.img");
    man_paragraph(
        "The source must not be in use while it is read: a file that nobody writes, a disk that is not mounted for writing.");
    man_section("A REPLICA ON ANOTHER HOST");
    man_text("On the host that keeps it, as root. A configuration that says where replicas go:");
    man_example("[serve]\n"
                "directory = /var/lib/blkrep-replicas");
    man_paragraph(
        "in /etc/blkrep/blkrep.conf; then the server, which runs as a user of its own with its state in /var/lib/blkrep-serve, and a "
        "token, made as that user:");
    man_example("systemd-sysusers\n"
                "systemctl enable --now blkrep-serve\n"
                "runuser -u blkrep -- blkrep token create --state=/var/lib/blkrep-serve");
    man_paragraph(
        "A firewall must let TCP port 4777 in. On the host that has the source, paste the token when it is asked for, and copy:");
    man_example("blkrep pair backup.example.org\n"
                "blkrep sync /srv/disk.img blkrep://backup.example.org/disk");
    man_paragraph("To keep the replica current from now on, name both ends in /etc/blkrep/blkrep.conf there:");
    man_example("[volume disk]\n"
                "path = /srv/disk.img\n"
                "\n"
                "[replica disk]\n"
                "address = blkrep://backup.example.org/disk");
    man_paragraph("and let the service run every 30 seconds, which ships only what changed:");
    man_example("systemctl enable --now blkrep-sync@disk");
    man_paragraph(
        "From there the server can be asked to prove every block. When the source is lost, the replica is an image like any other: on "
        "its host complete it, if a crash left it between two versions, then copy, mount or attach it.");
    man_example("blkrep verify blkrep://backup.example.org/disk\n"
                "runuser -u blkrep -- blkrep finish --state=/var/lib/blkrep-serve \\\n"
                "    /var/lib/blkrep-replicas/disk");
}

static void manual_overview_words(void)
{
    static const struct {
        const char *word;
        const char *text;
    } words[] = {
        {"volume", "What is protected: a file or device, with a uuid of its own that is kept beside it, never in it."},
        {"version", "The whole content of a volume at one moment."},
        {"root", "The hash that names a version: the same root is the same content, on every host."},
        {"tree",
         "The hashes of a version's blocks of 64 KiB, and the hashes of those up to the root. A block is proven by it."},
        {"generation", "Counts the versions of a replica."},
        {"delta",
         "What turns one version into the next: the pages of 4 KiB that differ. It fits that one version only."},
        {"replica",
         "A file or device that is one version of a volume, or says that it is not yet: incomplete (the first copy was cut), "
         "applying (a delta is being written; blkrep finish completes it), replacing (a new file is about to take its place)."},
        {"identity", "The record beside a replica that says which version of which volume its bytes are."},
        {"tracker", "What knows which blocks to look at; scan looks at all."},
        {"consistency",
         "How a version was taken: clean (nothing could write), crash (one moment, as after a power cut), none (a mix of moments)."},
        {"proof",
         "Reading blocks of a replica and comparing them with the tree. Each run proves a share of them anew (--recheck), blkrep "
         "verify all."},
        {"state folder", "Where this host keeps its keys, whom it trusts, its audit log and what it has synced."},
        {"WWID", "The name by which the kernel knows a disk whatever its /dev name is."},
    };

    man_section("WORDS");
    for (size_t i = 0; i < BR_ARRAY_LEN(words); i++) {
        man_item(words[i].word, "", words[i].text);
    }
}

static void manual_overview(void)
{
    man_head("blkrep", "1", "Keep a block device or disk image alive somewhere else.");
    man_section("SYNOPSIS");
    printf("\\fBblkrep\\fR \\fIVERB\\fR [options] \\fIARGS\\fR\n.br\n\\fBblkrep\\fR \\fIVERB\\fR \\-\\-help\n.br\n"
           "\\fBblkrep\\fR \\-\\-version\n");
    man_section("DESCRIPTION");
    man_text(
        "blkrep keeps a replica of a file or block device, on this host or another, and brings it up to date by shipping only what "
        "differs. It runs on stock kernels. When it exits with 0, what was asked is durable and checked; otherwise it says what failed, "
        "on what, and what to do.\n\n"
        "Options are long ones only, and may stand anywhere; `--name=value` and `--name value` are the same, and `--` ends them. An "
        "option that a verb does not know is an error. Sizes are read and printed in IEC units (64M, 1.5GiB), times with a unit (30s, 5m, "
        "1d). Data goes to stdout, all else to stderr.");
    manual_overview_start();
    man_section("VERBS");
    for (size_t i = 0; cli_verbs[i]; i++) {
        char name[64];
        manual_name_of(cli_verbs[i], name, sizeof(name));
        man_item(cli_verbs[i]->name, cli_verbs[i]->args, cli_verbs[i]->summary);
        printf("See \\fB%s\\fR(1).\n", name);
    }
    man_section("ADDRESSES");
    man_text(
        "A source, replica or repository is named by a path; a replica or repository on another host by `blkrep://HOST[:PORT]/NAME`, "
        "where `blkrep serve` runs there; any by the name of a `[volume N]`, `[replica N]` or `[repository N]` section of the "
        "configuration. A word that holds a slash is never such a name: ./NAME means the file.");
    man_section("OPTIONS OF EVERY VERB");
    man_options(cli_common_options);
    manual_overview_json();
    man_section("ENVIRONMENT");
    man_text("An option on the command line wins over the environment, the environment over the configuration.");
    man_item(
        "BLKREP_STATE", "",
        "The state folder; default /var/lib/blkrep for root, else $XDG_STATE_HOME/blkrep or ~/.local/state/blkrep.");
    man_item("BLKREP_CONFIG", "", "The configuration; then it must exist. Default /etc/blkrep/blkrep.conf.");
    man_item(
        "BLKREP_PASSPHRASE", "",
        "Opens a repository, unless --passphrase-file or --key-file say otherwise; a recovery key will do. BLKREP_NEW_PASSPHRASE "
        "is the one that `blkrep key add` adds.");
    manual_overview_files();
    manual_overview_words();
    man_section("EXIT STATUS");
    man_text("0 when it is done. `blkrep-errors`(7) says what every other status means, and what to do.");
    man_see_also("\\fBblkrep.conf\\fR(5)", "blkrep-stream(5), blkrep-errors(7)");
}

static void manual_errors(void)
{
    static const struct {
        const char *status;
        const char *text;
    } statuses[] = {
        {"0", "Done: what was asked is durable."},
        {"1", "Failed."},
        {"2", "Wrong usage or configuration; nothing was done."},
        {"3", "Refused for safety; nothing was done to the target."},
        {"4", "Verification failed: data is not what it should be."},
        {"5", "The peer or the network failed; run again."},
        {"6", "No space left; make room and run again."},
        {"7", "Busy: another run holds it."},
        {"8", "Done, with gaps: unreadable source blocks are marked in the version."},
    };
    static_assert(BR_ARRAY_LEN(statuses) == BR_EXIT_GAPS + 1, "every exit status is here");

    man_head("blkrep-errors", "7", "Exit statuses and errors of blkrep.");
    man_section("DESCRIPTION");
    man_text(
        "An error is two lines on stderr: what failed and on what, at which byte where there is one; then what to do. With --json the "
        "exit object says the same in its field error. The exit status tells scripts what kind of failure it was.");
    man_section("EXIT STATUS");
    for (size_t i = 0; i < BR_ARRAY_LEN(statuses); i++) {
        man_item(statuses[i].status, "", statuses[i].text);
    }
    man_section("ERRORS");
    man_text("The names are those of error.name in the exit object.");
    for (int code = 1; code < BR_E_MAX; code++) {
        printf(".TP\n\\fB%s\\fR (status %d)\n", br_err_name(code), br_err_exit(code));
        printf("%s.\n.br\nTo do: %s.\n", br_err_message(code), br_err_hint(code));
    }
    man_see_also("\\fBblkrep\\fR(1)", NULL);
}

static const char manual_conf_example[] = "[volume web]\n"
                                          "path = /srv/web.img\n"
                                          "\n"
                                          "[replica web-far]\n"
                                          "address = blkrep://backup.example.org/web\n"
                                          "\n"
                                          "[replica web-near]\n"
                                          "path = /backup/web.img\n"
                                          "\n"
                                          "[repository safe]\n"
                                          "path = blkrep://backup.example.org/main\n"
                                          "\n"
                                          "[serve]\n"
                                          "listen = 127.0.0.1:4777 ; loopback only\n"
                                          "directory = /backup/incoming";

static void manual_conf(void)
{
    const char *section = "";
    char title[64];

    man_head("blkrep.conf", "5", "Configuration of blkrep.");
    man_section("DESCRIPTION");
    man_text(
        "The file is /etc/blkrep/blkrep.conf, or what --config or $BLKREP_CONFIG names. It may be missing unless it is named. It must "
        "belong to root or to the user and be writable by nobody else.\n\n"
        "It holds sections in brackets, lines `key = value`, and comments: a line that begins with a semicolon or #, and what follows a "
        "semicolon behind a blank. Blanks before a line don't matter. Sizes and times are written as on the command line. An unknown "
        "section, an unknown key, a value of the wrong kind, a key given twice or a line of more than 198 bytes is an error that names "
        "the line, and nothing is done. A volume needs a path, a replica a path or an address.");
    for (const struct conf_key *row = conf_keys; row->section; row++) {
        if (strcmp(row->section, section) != 0) {
            section = row->section;
            snprintf(title, sizeof(title), "[%s%s]", section, strcmp(section, "serve") ? " NAME" : "");
            man_section(title);
        }
        char behind[128];
        snprintf(behind, sizeof(behind), "= %s", row->value ? row->value : "yes|no");
        man_item(row->key, behind, row->text);
        if (row->otherwise) {
            printf("Default: %s.\n", row->otherwise);
        }
    }
    man_section("EXAMPLES");
    man_text(
        "With this file `blkrep sync web web-far`, `blkrep sync web web-near` and `blkrep backup web safe` are whole commands:");
    man_example(manual_conf_example);
    man_see_also("\\fBblkrep\\fR(1)", NULL);
}

static const struct manual_page {
    const char *page;
    void (*print)(void);
} manual_pages[] = {
    {"blkrep.1", manual_overview},
    {"blkrep.conf.5", manual_conf},
    {"blkrep-errors.7", manual_errors},
    {"bash-completion", completion_bash},
};

static void manual_verb_page(const struct cli_verb *verb, char *page, size_t page_size)
{
    manual_name_of(verb, page, page_size);
    size_t used = strlen(page);
    snprintf(page + used, page_size - used, ".1");
}

static void manual_list(const struct cli *cli)
{
    char page[64];

    for (size_t i = 0; i < BR_ARRAY_LEN(manual_pages); i++) {
        cli_print(cli, "%s", manual_pages[i].page);
    }
    for (size_t i = 0; cli_verbs[i]; i++) {
        manual_verb_page(cli_verbs[i], page, sizeof(page));
        cli_print(cli, "%s", page);
    }
}

static bool manual_print(const char *wanted)
{
    char page[64];

    for (size_t i = 0; i < BR_ARRAY_LEN(manual_pages); i++) {
        if (!strcmp(wanted, manual_pages[i].page)) {
            manual_pages[i].print();
            return true;
        }
    }
    for (size_t i = 0; cli_verbs[i]; i++) {
        manual_verb_page(cli_verbs[i], page, sizeof(page));
        if (!strcmp(wanted, page)) {
            manual_verb(cli_verbs[i]);
            return true;
        }
    }
    return false;
}

static int manual_run(struct cli *cli, struct br_err *reterr)
{
    char shown[256];

    if (cli->json) {
        return br_err_set(reterr, BR_E_USAGE, "pages are text: blkrep manual takes no --json");
    }
    if (!cli->arg_count) {
        manual_list(cli);
        return 0;
    }
    if (manual_print(cli->args[0])) {
        return 0;
    }
    br_quote(cli->args[0], shown, sizeof(shown));
    return br_err_set(reterr, BR_E_NOT_FOUND, "no page is called %s; blkrep manual lists them", shown);
}

const struct cli_verb cmd_manual = {
    .name = "manual",
    .args = "[PAGE]",
    .args_min = 0,
    .args_max = 1,
    .summary = "Print a manual page or the bash completion.",
    .description =
        "Without PAGE lists what there is. The pages are made from the tables that the program runs on, so they are of this very "
        "version. They are troff source for `man` or `mandoc`.",
    .options = NULL,
    .examples = manual_examples,
    .see_also = NULL,
    .schema = "blkrep.manual/1",
    .run = manual_run,
};
