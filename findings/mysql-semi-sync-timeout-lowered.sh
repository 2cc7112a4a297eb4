#!/usr/bin/env bash
# MySQL 9.7.4 (Debian 9.7.4-2), semi-synchronous replication: rpl_semi_sync_source_timeout is read when a commit begins to
# wait. Lowering it frees no commit that waits already. And as that one holds up the group commit, every later commit of
# the server queues behind it ("waiting for handler commit") before it begins to wait itself: the new value has no effect
# at all until the old one has passed, though @@rpl_semi_sync_source_timeout shows it and SET GLOBAL answers at once.
#
# Output seen, with a time-out of an hour that is lowered to a second while one commit waits:
#   ok: a commit waits for an acknowledgement
#   ok: with rpl_semi_sync_source_timeout=1000 it waits on after 20 s, and so does a later one: waiting for handler commit
#   ok: rpl_semi_sync_source_wait_no_replica=OFF frees both at once
#   ok: a commit that begins with rpl_semi_sync_source_timeout=1000 goes on by itself
#   ok: one that waits when 20000 is raised to 3600000 goes on after 20 s, unacknowledged, and switches semi-sync off
#
# Why it matters: a practically endless time-out is what lossless failover is run with. When the last acknowledging
# replica is gone and people decide to go on without, lowering the time-out is what comes to mind, and what scripts and
# failover tools do: the primary stays frozen, with a variable that says otherwise, for what is left of the hour.
# What frees it: rpl_semi_sync_source_wait_no_replica=OFF if no semi-sync replica is connected (as here),
# rpl_semi_sync_source_enabled=OFF also if some are but too few, or an acknowledgement. And raising the time-out in an
# emergency protects nothing that waits already: that still goes on unacknowledged after the old one, and semi-sync with it.
#
# Exits 0 if it is still so, 1 if it changed, 2 if it could not be tried. Needs Debian, a mirror that still has the
# version, and bash.
set -euo pipefail

version=9.7.4-2
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin
unset NOTIFY_SOCKET LD_LIBRARY_PATH LD_PRELOAD

work=$(mktemp -d /tmp/finding.XXXXXX)
started=()
clean_up() {
  trap - EXIT
  for pid in ${started[@]+"${started[@]}"}; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 2' INT TERM HUP

cannot() { echo "cannot try: $*" >&2; exit 2; }
changed() { echo "CHANGED: $*" >&2; exit 1; }

# Tries the command until it succeeds, for three minutes.
in_time() {
  local deadline=$((SECONDS + 180))
  until "$@"; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.1
  done
}

# Unpacks packages of Debian unstable and all they need: an apt of our own, on a machine without packages.
unpack() {
  local apt=$work/apt mirror deb
  mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && !mirror { mirror = $3 } END { print mirror }')
  [ -n "$mirror" ] || cannot "apt knows no Debian mirror: run apt-get update"
  mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$work/root"
  : >"$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror unstable main" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
CONF
  APT_CONFIG=$apt/apt.conf apt-get update -qq >&2 || cannot "no package lists"
  APT_CONFIG=$apt/apt.conf apt-get install -y -qq --download-only "$@" >&2 || cannot "the mirror has no $*"
  for deb in "$apt"/cache/archives/*.deb; do
    case ${deb##*/} in perl* | libperl*) ;; *) dpkg-deb -x "$deb" "$work/root" ;; esac
  done
  rm -rf "$apt"
}

# Makes the command $1 of the unpacked program usr/$2, which runs through the packages' own loader and libraries.
wrap() {
  local loader
  loader=$(find "$work/root" \( -name 'ld-linux-x86-64.so.2' -o -name 'ld-linux-aarch64.so.1' \) -path '*-linux-gnu*' -print -quit)
  [ -n "$loader" ] || cannot "only amd64 and arm64"
  mkdir -p "$work/bin"
  printf '#!/bin/sh\nexec "%s" --library-path "%s:%s" "%s" "$@"\n' \
    "$loader" "$(dirname "$loader")" "$work/root/usr/lib/mysql/private" "$work/root/usr/$2" >"$work/bin/$1"
  chmod 755 "$work/bin/$1"
}

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

prepare() {
  mkdir "$work/data"
  cat >"$work/accounts.sql" <<'SQL'
CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1';
SQL
  "$work/bin/mysqld" --no-defaults --initialize-insecure --user="$(id -un)" --skip-log-bin --basedir="$work/root/usr" \
    --lc-messages-dir="$work/root/usr/share/mysql" --innodb-redo-log-capacity=8M --innodb-buffer-pool-size=32M \
    --secure-file-priv= --init-file="$work/accounts.sql" --datadir="$work/data" --log-error="$work/initialize.log" ||
    { cat "$work/initialize.log" >&2; cannot "no data directory"; }
  rm -f "$work/data/auto.cnf" # every server makes its own UUID
}

# Starts server $1 with ID $2.
start() {
  local name=$1 id=$2 port
  port=$(free_port)
  cp -R "$work/data" "$work/$name"
  "$work/bin/mysqld" --no-defaults --user="$(id -un)" --basedir="$work/root/usr" --datadir="$work/$name" \
    --lc-messages-dir="$work/root/usr/share/mysql" --socket="$work/$name.sock" --port="$port" --bind-address=127.0.0.1 \
    --mysqlx=OFF --secure-file-priv= --skip-name-resolve --pid-file="$work/$name.pid" --log-error="$work/$name.log" \
    --server-id="$id" --log-bin=binlog --gtid-mode=ON --enforce-gtid-consistency=ON --innodb-buffer-pool-size=32M \
    >/dev/null 2>&1 &
  started+=($!)
  printf -v "${name}_port" %s "$port"
  in_time answers "$name" || { cat "$work/$name.log" >&2; cannot "$name does not start"; }
}

# Says SQL to a server by a connection of its own.
sql() {
  timeout 600 "$work/bin/mysql" --no-defaults --batch --skip-column-names --user=root --socket="$work/$1.sock" --execute="$2"
}
answers() { sql "$1" 'SELECT 1' >/dev/null 2>&1; }
is() { [ "$(sql "$1" "$2" | xargs)" = "$3" ]; }
is() { [ "$(sql "$1" "$2" | xargs)" = "$3" ]; }
status_is() { is source "SHOW GLOBAL STATUS LIKE '$1'" "$1 $2"; }
# What the statement $1 does on the source; nothing if it is over.
state_of() { sql source "SELECT state FROM performance_schema.processlist WHERE info = '$1'"; }
state_is() { [ "$(state_of "$1")" = "$2" ]; }
replica_comes() {
  sql replica 'START REPLICA IO_THREAD'
  in_time status_is Rpl_semi_sync_source_status ON || cannot "semi-sync does not come back"
}
replica_goes() {
  sql replica 'STOP REPLICA IO_THREAD'
  in_time status_is Rpl_semi_sync_source_clients 0 || cannot "the replica does not go"
  status_is Rpl_semi_sync_source_status ON || cannot "semi-sync is off"
}

unpack "mysql-server-core=$version" "mysql-client-core=$version"
wrap mysqld sbin/mysqld
wrap mysql bin/mysql
prepare
start source 1
start replica 2
sql source "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so';
  SET GLOBAL rpl_semi_sync_source_timeout = 3600000, GLOBAL rpl_semi_sync_source_enabled = ON"
# shellcheck disable=SC2154 # start sets it
sql replica "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'; SET GLOBAL rpl_semi_sync_replica_enabled = ON;
  CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=$source_port, SOURCE_USER='repl',
    SOURCE_PASSWORD='repl', GET_SOURCE_PUBLIC_KEY=1, SOURCE_AUTO_POSITION=1; START REPLICA"
in_time status_is Rpl_semi_sync_source_clients 1 || cannot "the replica does not connect"
sql source 'CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY)'

replica_goes
sql source 'INSERT INTO shop.item VALUES (1)' &
first=$!
in_time state_is 'INSERT INTO shop.item VALUES (1)' 'Waiting for semi-sync ACK from replica' ||
  cannot "the commit does not wait"
echo "ok: a commit waits for an acknowledgement"

sql source 'SET GLOBAL rpl_semi_sync_source_timeout = 1000'
sql source 'INSERT INTO shop.item VALUES (2)' &
second=$!
in_time state_is 'INSERT INTO shop.item VALUES (2)' 'waiting for handler commit' ||
  changed "a later commit does not queue: $(state_of 'INSERT INTO shop.item VALUES (2)')"
end=$((SECONDS + 20))
while [ $SECONDS -lt $end ]; do
  is source 'SELECT @@rpl_semi_sync_source_timeout' 1000 || cannot "the time-out is not lower"
  state_is 'INSERT INTO shop.item VALUES (1)' 'Waiting for semi-sync ACK from replica' || changed "the first commit is free"
  state_is 'INSERT INTO shop.item VALUES (2)' 'waiting for handler commit' || changed "the later commit is free"
  sleep 0.5
done
echo "ok: with rpl_semi_sync_source_timeout=1000 it waits on after 20 s, and so does a later one: waiting for handler commit"

sql source 'SET GLOBAL rpl_semi_sync_source_wait_no_replica = OFF'
wait "$first" && wait "$second" || cannot "a commit got an error"
in_time status_is Rpl_semi_sync_source_status OFF || changed "semi-sync stays on"
echo "ok: rpl_semi_sync_source_wait_no_replica=OFF frees both at once"

sql source 'SET GLOBAL rpl_semi_sync_source_wait_no_replica = ON'
replica_comes
replica_goes
timeout 180 "$work/bin/mysql" --no-defaults --user=root --socket="$work/source.sock" \
  --execute='INSERT INTO shop.item VALUES (3)' || changed "a commit waits longer than the time-out it began with"
status_is Rpl_semi_sync_source_status OFF || changed "semi-sync is on"
echo "ok: a commit that begins with rpl_semi_sync_source_timeout=1000 goes on by itself"

sql source 'SET GLOBAL rpl_semi_sync_source_timeout = 20000'
replica_comes
replica_goes
sql source 'INSERT INTO shop.item VALUES (4)' &
fourth=$!
in_time state_is 'INSERT INTO shop.item VALUES (4)' 'Waiting for semi-sync ACK from replica' ||
  cannot "the commit does not wait"
sql source 'SET GLOBAL rpl_semi_sync_source_timeout = 3600000'
state_is 'INSERT INTO shop.item VALUES (4)' 'Waiting for semi-sync ACK from replica' || cannot "too slow to raise it in time"
in_time status_is Rpl_semi_sync_source_status OFF || changed "it waits longer than the time-out it began with"
wait "$fourth" || cannot "the commit got an error"
is source 'SELECT @@rpl_semi_sync_source_timeout' 3600000 || cannot "the time-out is not higher"
echo "ok: one that waits when 20000 is raised to 3600000 goes on after 20 s, unacknowledged, and switches semi-sync off"
