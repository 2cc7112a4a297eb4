#!/usr/bin/env bash
# MariaDB 11.8.9 (Debian 1:11.8.9+ds-4; 10.11.19 does the same), semi-synchronous replication, wait point AFTER_COMMIT,
# which is the default: XA PREPARE answers OK before any replica has the transaction. The wait that it owes falls upon
# the next statement that reads a table on the same thread of the server: the next SELECT of that connection or, once
# it is closed, a SELECT of whichever client's new connection gets the thread from the thread cache.
#
# Output seen, with the only replica's receiver stopped and rpl_semi_sync_master_timeout far away:
#   ok: INSERT waits for an acknowledgement
#   ok: XA PREPARE answers, acknowledged by none: Rpl_semi_sync_master_yes_tx is 3 as before
#   ok: another account's SELECT waits for an acknowledgement: reader: SELECT COUNT(*) FROM shop.item
#   ok: with AFTER_SYNC XA PREPARE waits for an acknowledgement
#   ok: the primary is killed: its replica knows nothing of what was prepared: ERROR 1397 (XAE04) ... XAER_NOTA: Unknown XID
#
# Why it matters:
# - "Prepared" is a promise to commit later. The coordinator commits the other branches and this one is lost with the
#   primary, though semi-sync was on and never timed out. XA COMMIT, XA ROLLBACK and XA COMMIT ... ONE PHASE do wait.
# - A monitor that reads a table (information_schema counts) hangs on a healthy primary whose replicas are away, and may
#   take it for a hanging one; SELECT 1, SET and SHOW PROCESSLIST do not wait. In the process list a reader's SELECT is
#   "Waiting for semi-sync ACK from slave".
# - AFTER_SYNC is the cure. MySQL 9.7.4 waits in XA PREPARE.
#
# Exits 0 if it is still so, 1 if it changed, 2 if it could not be tried. Needs Debian, a mirror that still has the
# version, and bash.
set -euo pipefail

version=1:11.8.9+ds-4
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
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' \
    "$loader" "$(dirname "$loader")" "$work/root/usr/$2" >"$work/bin/$1"
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
  local share=$work/root/usr/share/mariadb part
  {
    printf '%s\n' 'CREATE DATABASE IF NOT EXISTS mysql;' 'USE mysql;' 'SET @auth_root_socket = NULL;'
    for part in mariadb_system_tables mariadb_performance_tables mariadb_system_tables_data \
      maria_add_gis_sp_bootstrap mariadb_sys_schema; do
      cat "$share/$part.sql"
    done
    cat <<'SQL'
FLUSH PRIVILEGES;
CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1';
CREATE USER reader@localhost;
GRANT SELECT ON shop.* TO reader@localhost;
SQL
  } >"$work/bootstrap.sql"
  "$work/bin/mariadbd" --no-defaults --bootstrap --user="$(id -un)" --datadir="$work/data" --lc-messages-dir="$share" \
    --innodb-log-file-size=8M <"$work/bootstrap.sql" >"$work/bootstrap.log" 2>&1 ||
    { cat "$work/bootstrap.log" >&2; cannot "no data directory"; }
}

# Starts server $1 with ID $2. Of threads one is cached, so that which one a new connection gets is no matter of chance.
start() {
  local name=$1 id=$2 port
  shift 2
  port=$(free_port)
  cp -R "$work/data" "$work/$name"
  "$work/bin/mariadbd" --no-defaults --user="$(id -un)" --datadir="$work/$name" --socket="$work/$name.sock" --port="$port" \
    --bind-address=127.0.0.1 --skip-name-resolve --pid-file="$work/$name.pid" --log-error="$work/$name.log" \
    --lc-messages-dir="$work/root/usr/share/mariadb" --server-id="$id" --log-bin=binlog --log-slave-updates \
    --thread-handling=one-thread-per-connection --thread-cache-size=1 --innodb-buffer-pool-size=32M "$@" \
    >/dev/null 2>&1 &
  started+=($!)
  printf -v "${name}_pid" %s $!
  printf -v "${name}_port" %s "$port"
  in_time answers "$name" || { cat "$work/$name.log" >&2; cannot "$name does not start"; }
}

# Says SQL to a server by a connection of its own.
sql() {
  local name=$1
  shift
  timeout 180 "$work/bin/mariadb" --no-defaults --skip-ssl --batch --skip-column-names --user=root \
    --socket="$work/$name.sock" --execute="$*"
}
answers() { sql "$1" 'SELECT 1' >/dev/null 2>&1; }

# Says SQL to the primary by the one connection that is open all the time.
observe() {
  local line
  echo "$*; SELECT 'the end';" >&"$to_observer"
  while IFS= read -r -t 180 line <&"$from_observer"; do
    [ "$line" != 'the end' ] || return 0
    printf '%s\n' "$line"
  done
  cannot "the observer got no answer"
}
status() { observe "SHOW GLOBAL STATUS LIKE '$1'" | cut -f 2; }
status_is() { [ "$(status "$1")" = "$2" ]; }
# Who waits for an acknowledgement, and with what.
waiting() { observe 'SHOW FULL PROCESSLIST' | awk -F'\t' '/Waiting for semi-sync ACK/ { print $2 ": " $8 }'; }
waits() { [ "$(waiting)" = "$1" ]; }
has_all() { [ "$(sql replica 'SELECT @@gtid_slave_pos')" = "$(observe 'SELECT @@gtid_binlog_pos')" ]; }

replica_goes() {
  sql replica 'STOP SLAVE IO_THREAD'
  in_time status_is Rpl_semi_sync_master_clients 0 || cannot "the replica does not go"
  in_time status_is Threads_cached 1 || cannot "no thread is cached"
}
replica_comes() {
  sql replica 'START SLAVE IO_THREAD'
  wait "$client" || cannot "the client got an error: $(cat "$work/client")"
  in_time has_all || cannot "the replica does not catch up"
}

unpack "mariadb-server-core=$version" "mariadb-client-core=$version"
wrap mariadbd sbin/mariadbd
wrap mariadb bin/mariadb
prepare
start primary 1 --rpl-semi-sync-master-enabled=ON --rpl-semi-sync-master-timeout=3600000
start replica 2 --rpl-semi-sync-slave-enabled=ON
coproc observer { exec "$work/bin/mariadb" --no-defaults --skip-ssl --batch --skip-column-names --unbuffered --user=root \
  --socket="$work/primary.sock" 2>&1; }
started+=("$observer_PID")
exec {to_observer}>&"${observer[1]}" {from_observer}<&"${observer[0]}"
[ "$(observe 'SELECT @@rpl_semi_sync_master_wait_point')" = AFTER_COMMIT ] || changed "AFTER_COMMIT is not the default"
# shellcheck disable=SC2154 # start sets it
sql replica "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=$primary_port, MASTER_USER='repl', MASTER_PASSWORD='repl',
  MASTER_SSL=0, MASTER_USE_GTID=slave_pos; START SLAVE"
in_time status_is Rpl_semi_sync_master_clients 1 || cannot "the replica does not connect"
sql primary 'CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY)'
in_time has_all || cannot "the replica does not apply"

replica_goes
sql primary 'INSERT INTO shop.item VALUES (1)' >"$work/client" 2>&1 &
client=$!
in_time waits 'root: INSERT INTO shop.item VALUES (1)' || changed "INSERT does not wait: $(waiting)"
echo "ok: INSERT waits for an acknowledgement"
replica_comes

replica_goes
before=$(status Rpl_semi_sync_master_yes_tx)
timeout 180 "$work/bin/mariadb" --no-defaults --skip-ssl --user=root --socket="$work/primary.sock" \
  --execute="XA START 'a'; INSERT INTO shop.item VALUES (2); XA END 'a'; XA PREPARE 'a'" ||
  changed "XA PREPARE waits"
after=$(status Rpl_semi_sync_master_yes_tx)
{ [ "$before" = "$after" ] && status_is Rpl_semi_sync_master_status ON && status_is Rpl_semi_sync_master_no_tx 0; } ||
  changed "yes_tx $before, then $after; status $(status Rpl_semi_sync_master_status)"
[ -z "$(sql replica 'XA RECOVER')" ] || changed "the replica has it"
echo "ok: XA PREPARE answers, acknowledged by none: Rpl_semi_sync_master_yes_tx is $after as before"

in_time status_is Threads_cached 1 || cannot "no thread is cached"
timeout 180 "$work/bin/mariadb" --no-defaults --skip-ssl --user=reader --socket="$work/primary.sock" \
  --execute='SELECT COUNT(*) FROM shop.item' >"$work/client" 2>&1 &
client=$!
in_time waits 'reader: SELECT COUNT(*) FROM shop.item' || changed "the SELECT does not wait: $(waiting)"
echo "ok: another account's SELECT waits for an acknowledgement: $(waiting)"
replica_comes
sql primary "XA ROLLBACK 'a'"
in_time has_all || cannot "the replica does not apply"

observe 'SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC'
replica_goes
sql primary "XA START 'b'; INSERT INTO shop.item VALUES (3); XA END 'b'; XA PREPARE 'b'" >"$work/client" 2>&1 &
client=$!
in_time waits "root: XA PREPARE 'b'" || changed "XA PREPARE does not wait with AFTER_SYNC: $(waiting)"
echo "ok: with AFTER_SYNC XA PREPARE waits for an acknowledgement"
replica_comes
sql primary "XA ROLLBACK 'b'"
in_time has_all || cannot "the replica does not apply"

observe 'SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_COMMIT'
replica_goes
timeout 180 "$work/bin/mariadb" --no-defaults --skip-ssl --user=root --socket="$work/primary.sock" \
  --execute="XA START 'c'; INSERT INTO shop.item VALUES (4); XA END 'c'; XA PREPARE 'c'" ||
  changed "XA PREPARE waits"
# shellcheck disable=SC2154 # start sets it
kill -KILL "$primary_pid"
wait "$primary_pid" 2>/dev/null || true
sql replica 'STOP SLAVE; RESET SLAVE ALL'
if answer=$(sql replica "XA COMMIT 'c'" 2>&1); then changed "the replica could commit it"; fi
answer=$(grep -m 1 ERROR <<<"$answer")
[[ $answer == *1397*XAER_NOTA* ]] || changed "$answer"
echo "ok: the primary is killed: its replica knows nothing of what was prepared: $answer"
