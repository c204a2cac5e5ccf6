#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=data=192M disk=area=96M disk=home=64M disk=target=192M disk=copy=192M tools=dmsetup,mke2fs,e2fsck files=/usr/lib/postgresql/*/bin,/usr/lib/postgresql/*/lib/*.so,/usr/share/postgresql/*,/usr/share/zoneinfo/UTC modules=dm-snapshot,dm-era mem=1G timeout=600
#
# PostgreSQL under pgbench on an attached volume that is synced all the while: a server starts from each replica looked at, amcheck finds
# its tables and indexes sound, the balances add up, and nothing is missing that was committed before the run began.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

bin=$(echo /usr/lib/postgresql/*/bin)
export TZ=UTC

# pg COMMAND... - as the user that the server needs
pg() { su -s /bin/bash postgres -c "export PATH=$bin:\$PATH TZ=UTC PGHOST=/run/pg; $*"; }

# start FOLDER PORT
start() {
    pg "pg_ctl -D $1 -l /run/pg/log.$2 -w -t 120 -o '-p $2 -k /run/pg -h \"\" -c shared_buffers=16MB -c max_connections=20 -c jit=off -c autovacuum=off' start" >"$T/start" 2>&1 ||
        fail "the server on $1 does not start: $(cat "$T/start" "/run/pg/log.$2")"
}

query() { pg "psql -X -q -A -t -p $1 -d postgres -c '$2'"; }

# look_at_replica COMMITTED - a server on a copy of it; so many transactions at least are in it
look_at_replica() {
    local sums rows
    dd if=/dev/vm/target of=/dev/vm/copy bs=1M iflag=direct oflag=direct status=none || fail "copy"
    mount -t ext4 /dev/vm/copy /run/copy || fail "the replica does not mount: $(dmesg | tail -5)"
    rm -f /run/copy/pg/postmaster.pid
    start /run/copy/pg 5433
    pg "pg_amcheck -p 5433 -d postgres --install-missing --heapallindexed" >"$T/amcheck" 2>&1 || fail "amcheck: $(cat "$T/amcheck")"
    rows=$(query 5433 "select count(*) from pgbench_history")
    [[ $rows -ge $1 ]] || fail "$rows transactions in the replica, and $1 were committed before the run began"
    sums=$(query 5433 "select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers) and (select sum(bbalance) from pgbench_branches) = (select coalesce(sum(delta), 0) from pgbench_history) and (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)")
    [[ $sums == t ]] || fail "the balances in the replica don't add up"
    pg "pg_ctl -D /run/copy/pg -m fast -w stop" >/dev/null || fail "the server does not stop"
    umount /run/copy
    e2fsck -fn /dev/vm/copy >"$T/fsck" 2>&1 || fail "the replica is no clean file system: $(cat "$T/fsck")"
    echo "replica: amcheck finds nothing, $rows transactions, $1 were committed before"
}

home_mount
echo 'postgres:x:70:70::/run/pg:/bin/bash' >>/etc/passwd
echo 'postgres:x:70:' >>/etc/group
mkdir -p /run/pg /run/data /run/copy && chown 70:70 /run/pg
mke2fs -q -t ext4 /dev/vm/data || fail "mke2fs"
run blkrep attach data /dev/vm/data --tracker era --cow /dev/vm/area
mount -t ext4 /dev/mapper/data /run/data || fail "mount"
mkdir /run/data/pg && chown 70:70 /run/data/pg && chmod 700 /run/data/pg
pg "initdb -D /run/data/pg -N --locale=C -E UTF8 -A trust --wal-segsize=1" >"$T/initdb" 2>&1 || fail "initdb: $(cat "$T/initdb")"
start /run/data/pg 5432
pg "pgbench -p 5432 -i -s 1 -q postgres" >"$T/pgbench" 2>&1 || fail "pgbench: $(cat "$T/pgbench")"
run blkrep sync data /dev/vm/target --overwrite --yes
pg "pgbench -p 5432 -n -c 2 -T 60 postgres" >"$T/pgbench" 2>&1 &
bench=$!
runs=0
while kill -0 $bench 2>/dev/null; do
    committed=$(query 5432 "select count(*) from pgbench_history")
    run blkrep sync data /dev/vm/target --recheck 1M
    is fallback_reason null
    is tracker_caught false
    is consistency clean
    runs=$((runs + 1))
    [[ $runs -ne 2 ]] || look_at_replica "$committed"
    sleep 1
done
wait $bench || fail "pgbench saw an error: $(cat "$T/pgbench")"
committed=$(query 5432 "select count(*) from pgbench_history")
run blkrep sync data /dev/vm/target --recheck 1M
look_at_replica "$committed"
[[ $runs -ge 2 && $committed -gt 10 ]] || fail "$runs runs, $committed transactions: too little was asked"
echo "$runs runs beside $(grep -E 'tps|latency average' "$T/pgbench" | tr '\n' ' ')"
pg "pg_ctl -D /run/data/pg -m fast -w stop" >/dev/null || fail "the server does not stop"
umount /run/data
run blkrep detach data
nothing_left
