#!/usr/bin/env bash
# MySQL 9.7.4 (Debian 9.7.4-2): super_read_only=ON does not keep XA away. An account with nothing but INSERT and the like
# finishes an XA transaction that it began before (XA END, XA PREPARE, XA COMMIT) and commits one that it prepared
# before, and each gets GTIDs of that server. COMMIT of an ordinary transaction begun at the same time is refused (1290),
# as the manual says of pending transactions. SET GLOBAL super_read_only=ON waits for none of them.
#
# Output seen:
#   ok: after super_read_only=ON COMMIT of an open transaction: ERROR 1290 (HY000) at line 2: The MySQL server is running with the --read-only option so it cannot execute this statement
#   ok: after super_read_only=ON XA END, XA PREPARE and XA COMMIT of an open XA transaction succeed
#   ok: after super_read_only=ON XA COMMIT of a prepared XA transaction succeeds
#   ok: the closed server has rows 2 4 that its successor lacks, under 3 GTIDs of its own
#   ok: the same decision on the successor, XA COMMIT as well, stops the closed server's applier: error 1397
#
# Why it matters: a planned switch closes the primary, waits until the successor has the GTIDs that the closed one has
# then, and opens it. Coordinators that go on talking to the old address write there after that: errant transactions,
# rows missing on the new primary, and a former primary whose replication stops as soon as the coordinator, or an
# operator, ends the same transaction on the new one, even with the same decision. XA RECOVER shows only those already
# prepared, not those that are open when the switch begins. So: end all client connections after closing and look at the
# GTIDs only then (that rolls the open ones back; it does not touch the prepared ones, which every connection may commit),
# and keep the coordinator from the old address before the successor is opened.
# MariaDB 11.8.9 and 10.11.19 with read_only=ON refuse XA COMMIT and XA ROLLBACK (1290) to such an account, but let
# XA PREPARE through, under a GTID of their own as well.
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
CREATE USER app@localhost;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO app@localhost;
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
client() {
  local name=$1 account=$2
  shift 2
  timeout 180 "$work/bin/mysql" --no-defaults --batch --skip-column-names --user="$account" --socket="$work/$name.sock" "$@"
}
sql() { client "$1" root --execute="$2"; }
answers() { sql "$1" 'SELECT 1' >/dev/null 2>&1; }
is() { [ "$(sql "$1" "$2" | xargs)" = "$3" ]; }
gtids() { sql "$1" 'SELECT REPLACE(@@GLOBAL.gtid_executed, "\n", "")'; }
follow() {
  sql "$1" "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=$2, SOURCE_USER='repl',
    SOURCE_PASSWORD='repl', GET_SOURCE_PUBLIC_KEY=1, SOURCE_AUTO_POSITION=1; START REPLICA"
}

# Opens a connection of the account app to the old primary, which takes SQL from say and writes to the file $1.
session() {
  local pipe=$work/$1.pipe
  mkfifo "$pipe"
  "$work/bin/mysql" --no-defaults --batch --skip-column-names --unbuffered --force --user=app --socket="$work/old.sock" \
    <"$pipe" >"$work/$1" 2>&1 &
  started+=($!)
  eval "exec {$1}>\"\$pipe\""
}
# Says SQL in session $1 and prints what it answers.
said=0
say() {
  local session=$1 seen
  seen=$(wc -l <"$work/$session")
  said=$((said + 1))
  echo "$2; SELECT 'answered $said';" >&"${!session}"
  in_time grep -q "answered $said" "$work/$session" || cannot "no answer to $2"
  tail -n "+$((seen + 1))" "$work/$session" | grep -v "answered $said" || true
}

unpack "mysql-server-core=$version" "mysql-client-core=$version"
wrap mysqld sbin/mysqld
wrap mysql bin/mysql
prepare
start old 1
start new 2
sql old 'CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY)'
# shellcheck disable=SC2154 # start sets it
follow new "$old_port"
session ordinary
session open
say ordinary 'BEGIN; INSERT INTO shop.item VALUES (1)'
say open "XA START 'open'; INSERT INTO shop.item VALUES (2)"
client old app --execute="XA START 'done'; INSERT INTO shop.item VALUES (4); XA END 'done'; XA PREPARE 'done'"

sql old 'SET GLOBAL super_read_only = ON'
closed=$(gtids old)
is new "SELECT WAIT_FOR_EXECUTED_GTID_SET('$closed', 180)" 0 || cannot "the replica does not catch up"
sql new 'STOP REPLICA; RESET REPLICA ALL'
# shellcheck disable=SC2154 # start sets it
follow old "$new_port"

answer=$(say ordinary COMMIT)
[[ $answer == *'ERROR 1290 '* ]] || changed "COMMIT of an open transaction: $answer"
echo "ok: after super_read_only=ON COMMIT of an open transaction: $(grep -m 1 ERROR <<<"$answer")"
answer=$(say open "XA END 'open'; XA PREPARE 'open'; XA COMMIT 'open'")
[ -z "$answer" ] || changed "XA END, XA PREPARE and XA COMMIT: $answer"
echo "ok: after super_read_only=ON XA END, XA PREPARE and XA COMMIT of an open XA transaction succeed"
answer=$(client old app --execute="XA COMMIT 'done'" 2>&1) || changed "XA COMMIT: $answer"
echo "ok: after super_read_only=ON XA COMMIT of a prepared XA transaction succeeds"

is old 'SELECT @@super_read_only' 1 || cannot "the old primary is open"
own=$(sql old "SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '$closed')" | sed 's/.*://')
rows=$(sql old 'SELECT id FROM shop.item ORDER BY id' | xargs)
{ [ "$rows" = '2 4' ] && [ $((${own#*-} - ${own%-*} + 1)) = 3 ] && is new 'SELECT COUNT(*) FROM shop.item' 0; } ||
  changed "rows $rows, GTIDs $own; the successor has $(sql new 'SELECT id FROM shop.item' | xargs)"
echo "ok: the closed server has rows $rows that its successor lacks, under 3 GTIDs of its own"

sql new "XA COMMIT 'done'"
in_time is old 'SELECT service_state FROM performance_schema.replication_applier_status' OFF ||
  changed "the applier goes on"
number=$(sql old 'SELECT MAX(last_error_number) FROM performance_schema.replication_applier_status_by_worker')
[ "$number" = 1397 ] || changed "the applier stopped with error $number"
echo "ok: the same decision on the successor, XA COMMIT as well, stops the closed server's applier: error $number"
