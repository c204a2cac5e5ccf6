#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A PostgreSQL database comes out of a point as a dump, without a restore: one that was killed while it worked, whose log is replayed beside the
# point. Its own settings run nothing, data outside of its folder is refused, and nothing is left running, mounted or changed.
# timeout: 300
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/export.sh"

t_root
e_need nbdfuse mkfs.ext4 losetup runuser
[[ -e /dev/fuse ]] || t_skip "no /dev/fuse here"
for bin in /usr/lib/postgresql/*/bin; do :; done # the newest
[[ -x $bin/postgres ]] || t_skip "PostgreSQL is not installed"
id postgres >/dev/null 2>&1 || t_skip "no user postgres"
t_loop "$T/out"
t_unloop "$T_LOOP"
repo=$T/repo f=$T/folder data=$T/folder/pg/main
pg() { runuser -u postgres -- "$@"; }
for folder in "$T" "${T%/*}"; do # for the user postgres
    [[ $(stat -c %a "$folder") != 700 ]] || chmod 711 "$folder"
done
mkdir -p "$f/pg" "$T/sock"
chown postgres "$f/pg" "$T/sock"
pg "$bin/initdb" -D "$data" -A trust --no-sync >"$T/initdb.log" 2>&1 || t_fail "initdb: $(tail -n 3 "$T/initdb.log")"
pg "$bin/pg_ctl" -D "$data" -w -t 60 -l "$T/sock/log" -o "-c listen_addresses='' -c unix_socket_directories='$T/sock' -c checkpoint_timeout=1h" start >/dev/null ||
    t_fail "no server: $(cat "$T/sock/log")"
t_undo+=("kill -KILL \$(head -n 1 '$data/postmaster.pid')")
sql() { pg psql -h "$T/sock" -qAt -v ON_ERROR_STOP=1 "$@"; }
sql -c 'create database shop'
sql -d shop -c "create table goods as select n, 'good ' || n as name from generate_series(1, 1000) n"
sql -c "alter system set archive_mode = on" -c "alter system set archive_command = 'touch $T/sock/ran'"
sql -d shop -c "insert into goods values (1001, 'the last one')"
pg "$bin/pg_ctl" -D "$data" -m immediate stop >/dev/null
t_mkfs_image "$T/pg.img" 256M "$f"
t_ok blkrep init "$repo" --encryption none
t_ok blkrep backup "$T/pg.img" "$repo"
p=$repo@latest:/pg/main

T_RUN_LIMIT=120 t_ok blkrep files pgdump "$p" --volume pg.img
for text in "the last one" "good 1000" 'CREATE DATABASE shop'; do t_stdout_has "$text"; done
T_RUN_LIMIT=120 t_ok blkrep files pgdump "$p" --volume pg.img --database shop
t_stdout_has "the last one"
t_stdout_lacks "CREATE DATABASE"
T_RUN_LIMIT=120 t_run blkrep files pgdump "$p" --volume pg.img --database none
t_status 1
[[ ! -e $T/sock/ran ]] || t_fail "a setting of the data folder ran a program"
"$BLKREP" restore "$repo@latest" - --volume pg.img 2>/dev/null | cmp - "$T/pg.img" || t_fail "the point changed"
for left in /run/blkrep-mount.*; do [[ ! -e $left/owner ]] || grep -q . "$left/owner" || t_fail "left: $left"; done
! losetup -l -n -O BACK-FILE | grep blkrep-mount >/dev/null || t_fail "a loop device is left"

t_run blkrep files pgdump "$repo@latest:/pg" --volume pg.img
t_status 1
t_stderr_has PG_VERSION
t_run blkrep files pgdump "$repo@latest:/none" --volume pg.img
t_status 1
# what reaches out of the folder
pg ln -s "$T/sock" "$data/pg_tblspc/16500"
t_mkfs_image "$T/out.img" 256M "$f"
t_ok blkrep backup "$T/out.img" "$repo"
t_run blkrep files pgdump "$p" --volume out.img
t_status 1
t_stderr_has tablespaces
