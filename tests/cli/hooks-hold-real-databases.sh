#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
# plain: the hooks are scripts
# The hooks that blkrep ships, against real servers. MariaDB: between `before` and `after` no table changes, also none without transactions,
# and a write that waited goes on at once; the lock ends by itself when nobody calls `after`; one that can't be had in time blocks nobody.
# PostgreSQL: `before` makes a checkpoint. A server that is not there is an error that says so.
. "$(dirname "$0")/../lib/cli.sh"
PATH=$PATH:/usr/sbin
t_need mariadbd mariadb mariadb-install-db
postgres=$(printf '%s\n' /usr/lib/postgresql/*/bin | tail -n 1)
[[ -x $postgres/initdb ]] || t_skip "postgresql is not installed"
hooks=$T_TOP/scripts/hooks
export RUNTIME_DIRECTORY=$T/run BLKREP_MARIADB_ENV=$T/mariadb.env
[[ ! -e /etc/blkrep/hooks/mariadb.env ]] || t_skip "this machine has settings for the hook of MariaDB"

# ---- MariaDB --------------------------------------------------------------------------------------------------------------------------
t_ok mariadb-install-db --no-defaults --datadir="$T/db" --user="$(id -un)" --auth-root-authentication-method=normal --skip-test-db
t_background mariadbd mariadbd --no-defaults --datadir="$T/db" --user="$(id -un)" --socket="$T/sock" --skip-networking --innodb-buffer-pool-size=16M
maria_pid=$T_PID
sql() { mariadb --no-defaults --socket="$T/sock" --user=root -BN -e "$1"; }
t_wait_for 60 sql "SELECT 1"
echo "options=(--no-defaults --socket=$T/sock --user=root) lock_seconds=6 wait_seconds=2" >"$T/mariadb.env"
sql "CREATE DATABASE shop; CREATE DATABASE copy; CREATE TABLE shop.old (n INT) ENGINE=MyISAM; CREATE TABLE shop.new (n INT) ENGINE=InnoDB; INSERT INTO shop.old VALUES (0)"

now_ms() { date +%s%3N; }
writes() { # writes NAME SQL: in the background; the file NAME.done says when it was through
    (sql "$2" && now_ms >"$T/$1.done") &
    t_pids+=($!)
}

t_ok "$hooks/mariadb" before data
writes old "INSERT INTO shop.old VALUES (1)"
writes new "INSERT INTO shop.new VALUES (1)"
sleep 1
[[ ! -e $T/old.done && ! -e $T/new.done ]] || t_fail "a table changed while the lock was held"
cp "$T/db/shop"/old.* "$T/db/copy"
begun=$(now_ms)
t_ok "$hooks/mariadb" after data
t_wait_for 10 test -s "$T/old.done" -a -s "$T/new.done"
for name in old new; do
    t_le $(($(cat "$T/$name.done") - begun)) 2000 "milliseconds that a write waited after the snapshot"
done
# What was copied while the lock was held was closed in order: there is nothing to repair, and the row from before is all that is in it.
[[ $(sql "CHECK TABLE copy.old QUICK FAST" | cut -f 3-) == $'status\tTable is already up to date' && $(sql "SELECT n FROM copy.old") == 0 ]] ||
    t_fail "the copy of a locked table is not sound: $(sql "CHECK TABLE copy.old; SELECT n FROM copy.old")"
[[ -z $(find "$T/run" -name 'mariadb-*') ]] || t_fail "left behind: $(ls "$T/run")"

# Nobody calls `after`: the lock is gone when its time is up, and not before.
rm "$T/old.done"
begun=$(now_ms)
t_ok "$hooks/mariadb" before data
writes old "INSERT INTO shop.old VALUES (2)"
t_wait_for 30 test -s "$T/old.done"
held=$(($(cat "$T/old.done") - begun))
[[ $held -ge 5000 ]] || t_fail "the lock was gone after $held ms"
t_le "$held" 9000 "milliseconds that a lock was held which nobody gave back"

# `before` once more while it is held: one lock, and `after` ends it.
t_ok "$hooks/mariadb" before data
t_ok "$hooks/mariadb" before data
t_ok "$hooks/mariadb" after data
t_ok timeout 3 mariadb --no-defaults --socket="$T/sock" --user=root -e "INSERT INTO shop.old VALUES (3)"
t_ok "$hooks/mariadb" after data # none is held: nothing to do

# A table that somebody keeps locked: the hook gives up, says so, and whoever queued up behind it goes on.
(sql "LOCK TABLES shop.old WRITE; SELECT SLEEP(15)" >"$T/slept") &
t_pids+=($!)
sleeps() { [[ -n $(sql "SELECT id FROM information_schema.processlist WHERE info LIKE '%SLEEP(15)'") ]]; }
t_wait_for 10 sleeps
t_run "$hooks/mariadb" before data
t_status 1
t_stderr_has "the tables could not be locked"
t_ok timeout 3 mariadb --no-defaults --socket="$T/sock" --user=root -e "INSERT INTO shop.new VALUES (4)"

t_end "$maria_pid" TERM 30
t_run "$hooks/mariadb" before data
t_status 1
t_stderr_has "the tables could not be locked"

# ---- PostgreSQL: its programs refuse to run as root -----------------------------------------------------------------------------------
as=()
mkdir "$T/pg" "$T/pgsock"
if [[ $(id -u) -eq 0 ]]; then
    chmod 711 "$T" "$(dirname "$T")"
    chown nobody "$T/pg" "$T/pgsock"
    as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
export PGHOST=$T/pgsock PGUSER=keeper
t_ok "${as[@]}" "$postgres/initdb" -D "$T/pg" -U keeper -A trust --no-sync
t_background postgres "${as[@]}" "$postgres/postgres" -D "$T/pg" -c listen_addresses= -c unix_socket_directories="$T/pgsock" -c fsync=off
t_wait_for 60 psql -X -d postgres -c "SELECT 1"
checkpoint() { psql -X -At -d postgres -c "SELECT checkpoint_lsn FROM pg_control_checkpoint()"; }
t_ok psql -X -d postgres -c "CREATE TABLE t AS SELECT generate_series(1, 1000)"
before=$(checkpoint)
t_ok "$hooks/postgresql" before data
[[ $(checkpoint) != "$before" ]] || t_fail "there was no checkpoint"
t_ok "$hooks/postgresql" after data
t_end "$T_PID" INT 30
t_run "$hooks/postgresql" before data
[[ $T_STATUS -ne 0 ]] || t_fail "a server that is not there was taken for a checkpoint"
t_stderr_has "$T/pgsock"

for hook in mariadb postgresql; do
    t_run "$hooks/$hook" during data
    t_status 2
done
